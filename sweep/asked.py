"""What a sweep is asked for, checked as far as can be without loading a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spaces.load import load_space
from spaces.space import SearchSpace
from sweep.batch_split import BATCH
from sweep.budget import REFERENCE_BATCH, Budget, make_budget
from sweep.design import TPE, Design, factorial
from sweep.devices import Slot
from sweep.errors import SweepError
from sweep.field_values import check_values
from sweep.from_study import Start, find_start
from sweep.launchers.registry import find_launcher
from sweep.names import check_study_name
from sweep.options import DEFAULT_TRIALS, SweepOptions
from sweep.plan import KNOBS, check_searched
from sweep.pruners import PRUNERS
from sweep.quantization import asked_bits
from sweep.scaling import Scaling, may_scale
from sweep.storage import check_storage, database_exists, open_storage
from sweep.store import open_store
from sweep.study import Identity, check_identity, stored_identity
from sweep.trial_files import check_output
from sweep.version import __version__
from trials.paths import cache_dir
from trials.protocol import WorkerSetup


@dataclass(frozen=True)
class Asked:
    """What is known before anything is loaded.

    Attributes:
        plain: The space as it was asked for.
        design: What is to be run of it.
        space: The design's.
        budget: Every trial's.
        study_name: The study's name.
        exists: Whether there is one of that name.
        slots: Where trials run.
        total: Finished trials that the study is to have.
        pruner: A name in `PRUNERS`.
        attributes: User attributes that the study gets.
        start: What a second stage starts from.
        may_scale: Whether learning rates may be moved to fit the model.
    """

    plain: SearchSpace
    design: Design
    space: SearchSpace
    budget: Budget
    study_name: str
    exists: bool
    slots: list[Slot]
    total: int
    pruner: str
    attributes: dict[str, Any]

    start: Start | None
    may_scale: bool


@dataclass(frozen=True)
class Prepared:
    """What a sweep takes from another study instead of a space file.

    Attributes:
        design: The settings to run.
        study: That study's name.
        identity: What it is of; its budget is taken where the options ask for none.
        attributes: The new study's user attributes.
    """

    design: Design
    study: str
    identity: dict[str, Any]
    attributes: dict[str, Any]


def check(options: SweepOptions, prepared: Prepared | None) -> Asked:
    """Everything that can be found wrong without loading a model."""
    plain = prepared.design.space if prepared else asked_space(options)
    design = prepared.design if prepared else make_design(options, plain)
    pruner = options.pruner or ("promote" if design.kind == TPE else "none")
    if pruner not in PRUNERS:
        raise SweepError(f"pruner is {pruner!r}; allowed: {', '.join(PRUNERS)}")
    space = design.space
    asked_bits(space)
    slots = asked_slots(options)
    check_storage(options.storage)
    check_output(options.output)
    if options.artifacts:
        open_store(options.artifacts, options.output).check()
    name = options.study or (space.name if design.kind == TPE else f"{space.name}-{design.kind}")
    check_study_name(name)
    exists, stored = _stored(options.storage, name)
    settled = stored["budget"] if stored and stored["code"] == __version__ and not options.force else None
    budget = asked_budget(options, space, slots, settled or (prepared.identity["budget"] if prepared else None))
    # A confirmation's learning rates are those of the trials that it runs again.
    scales = prepared is None and may_scale(options.scale_lr, options.space, options.assignments)
    if exists and not options.force:
        known = None if scales else Scaling(space)
        check_identity(name, stored, Identity.of(space, budget, options.seed, scaling=known, design=design.kind))
    total = options.n_trials or len(design.cells) or DEFAULT_TRIALS
    attributes = prepared.attributes if prepared else {}
    # A confirmation starts from what the study that it confirms began with.
    begun = (prepared.study, prepared.identity) if prepared else (name, None if options.force else stored)
    start = find_start(options, *begun, space, budget)
    return Asked(plain, design, space, budget, name, exists, slots, total, pruner, attributes, start, scales)


def asked_space(options: SweepOptions) -> SearchSpace:
    """The space that the options name, with what they set."""
    space = load_space(options.space).override(options.assignments, allowed=KNOBS)
    space.check_fields(KNOBS)
    check_searched(space)
    check_values(space)
    return space


def asked_slots(options: SweepOptions) -> list[Slot]:
    """The slots that the options lay on this machine's devices, or that a cluster's engine is to find."""
    return find_launcher(options.launcher).slots(options)


def asked_budget(
    options: SweepOptions, space: SearchSpace, slots: Sequence[Slot], stored: dict[str, Any] | None = None
) -> Budget:
    """What the options ask for of every trial's budget, else what is stored, else what suits the device."""
    fixed = space.fixed
    return make_budget(
        on_gpu=bool(slots[0].gpus),
        stored=stored,
        max_steps=options.max_steps,
        max_samples=options.max_samples,
        val_size=options.val_size,
        cutoff_len=int(fixed.get("cutoff_len", 1024)),  # type: ignore[arg-type]
        cutoff_asked=any(text.split("=")[0].strip() == "cutoff_len" for text in options.assignments),
        batch=int(fixed.get(BATCH, REFERENCE_BATCH)),  # type: ignore[arg-type]
    )


def make_design(options: SweepOptions, space: SearchSpace) -> Design:
    """What a space is to be run as."""
    if options.design == TPE:
        return Design(TPE, space)
    over = [name.strip() for name in options.over.split(",") if name.strip()]
    return factorial(space, over, options.levels, range(options.seed, options.seed + options.seeds))


def _stored(storage: str, name: str) -> tuple[bool, dict[str, Any] | None]:
    if not database_exists(storage):
        return False, None
    return stored_identity(open_storage(storage, create=False), name)


def worker_setup(options: SweepOptions, space: SearchSpace, budget: Budget, start: Start | None = None) -> WorkerSetup:
    """What every worker loads."""
    return WorkerSetup(
        model=str(start.folder) if start else options.model,
        dataset=options.dataset,
        stage=space.stage,
        cutoff_len=budget.cutoff_len,
        max_samples=budget.max_samples,
        val_size=budget.val_size,
        seed=options.seed,
        dtype=options.dtype,
        quantization_bit=asked_bits(space),
        threads=0,
        trust_remote_code=options.trust_remote_code,
        cache_dir=cache_dir(),
        merge=start.merge if start else None,
    )
