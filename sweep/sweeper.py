"""A whole sweep: checks what was asked, loads, makes or reopens the study, searches, and says what came of it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import optuna
import psutil
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from rich.console import Console

from spaces.load import load_space
from spaces.space import SearchSpace
from sweep import header
from sweep.artifacts import Artifacts
from sweep.budget import REFERENCE_BATCH, Budget, make_budget
from sweep.design import TPE, Cell, Design, factorial
from sweep.devices import Slot, list_gpus, plan_slots
from sweep.enqueuing import enqueue_missing
from sweep.errors import SweepError, TrialFailed, TrialInterrupted, WorkerDied
from sweep.faults import explained
from sweep.from_study import Start, find_start
from sweep.launchers.base import Launcher
from sweep.launchers.local import LocalLauncher
from sweep.objective import Session, clean_up, make_objective
from sweep.options import DEFAULT_TRIALS, SweepOptions
from sweep.plan import BATCH, KNOBS, Plan, check_searched, drop_idle_epochs
from sweep.progress import make_progress
from sweep.pruners import PRUNERS
from sweep.recovery import put_back_interrupted, put_back_own
from sweep.results import Results
from sweep.samplers import SeededTPE
from sweep.say import say
from sweep.stopping import FailureWatch, stop_on_signals
from sweep.storage import check_storage, database_exists, open_storage
from sweep.study import (
    FROM,
    SOURCE,
    Identity,
    check_identity,
    create_study,
    finished_trials,
    free_name,
    stored_identity,
)
from sweep.version import __version__
from trials.paths import cache_dir
from trials.protocol import Ready, WorkerSetup


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended.

    Attributes:
        study_name: The study's name, which `--force` may have chosen.
        finished: Trials that count, all sessions together.
        total: Finished trials that it is to have.
        complete: How many of those are complete.
        saved: Trials that were saved to be continued.
        interrupted: Whether the user stopped it.
    """

    study_name: str
    finished: int
    total: int
    complete: int
    saved: int
    interrupted: bool


@dataclass(frozen=True)
class _Asked:
    """What is known before anything is loaded."""

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

@dataclass(frozen=True)
class Prepared:
    """What a sweep takes from another study instead of a space file.

    Attributes:
        design: The settings to run.
        budget: That study's own, as plain data; what the options ask for goes before it.
        attributes: The new study's user attributes.
    """

    design: Design
    budget: dict[str, Any]
    attributes: dict[str, Any]


def run_sweep(options: SweepOptions, console: Console, prepared: Prepared | None = None) -> Outcome:
    """Runs or continues a sweep until its study has `n_trials` finished trials, or the user stops it.

    Nothing is written to the storage before space, data, model and devices are known to be good.

    Args:
        options: What is asked for.
        console: Where it is told.
        prepared: What to run when it is not the options' space.

    Raises:
        SweepError: Something asked for cannot be; also when trial after trial fails.
        SpaceError: The space, or a knob that was set, is wrong.
    """
    asked = _check(options, prepared)
    options = replace(options, n_trials=asked.total, pruner=asked.pruner)
    say(console, [header.loading(options, asked.slots, asked.start)], indent=header.INDENT)
    setup = _worker_setup(options, asked)
    launcher = LocalLauncher(setup, asked.slots)
    try:
        return _run(options, asked, launcher, console)
    finally:
        launcher.close()


def _check(options: SweepOptions, prepared: Prepared | None) -> _Asked:
    """Everything that can be found wrong without loading a model."""
    design = prepared.design if prepared else _design(options)
    pruner = options.pruner or ("trend" if design.kind == TPE else "none")
    if pruner not in PRUNERS:
        raise SweepError(f"pruner is {pruner!r}; allowed: {', '.join(PRUNERS)}")
    space = design.space
    slots = plan_slots(
        options.gpus,
        options.gpus_per_trial,
        options.trials_per_gpu,
        present=list_gpus(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        free_bytes=psutil.virtual_memory().available,
    )
    check_storage(options.storage)
    name = options.study or (space.name if design.kind == TPE else f"{space.name}-{design.kind}")
    exists, stored = _stored(options.storage, name)
    settled = stored["budget"] if stored and stored["code"] == __version__ and not options.force else None
    fixed = space.fixed
    budget = make_budget(
        on_gpu=bool(slots[0].gpus),
        stored=settled or (prepared.budget if prepared else None),
        max_steps=options.max_steps,
        max_samples=options.max_samples,
        val_size=options.val_size,
        cutoff_len=int(fixed.get("cutoff_len", 1024)),  # type: ignore[arg-type]
        cutoff_asked=any(text.split("=")[0].strip() == "cutoff_len" for text in options.assignments),
        batch=int(fixed.get(BATCH, REFERENCE_BATCH)),  # type: ignore[arg-type]
    )
    if exists and not options.force:
        check_identity(name, stored, Identity.of(space, budget, options.seed, design=design.kind))
    total = options.n_trials or len(design.cells) or DEFAULT_TRIALS
    attributes = prepared.attributes if prepared else {}
    start = find_start(options, name, None if options.force else stored, space, budget)
    return _Asked(design, space, budget, name, exists, slots, total, pruner, attributes, start)


def _design(options: SweepOptions) -> Design:
    """What the options' space is to be run as."""
    space = load_space(options.space).override(options.assignments, allowed=KNOBS)
    space.check_fields(KNOBS)
    check_searched(space)
    if options.design == TPE:
        return Design(TPE, space)
    over = [name.strip() for name in options.over.split(",") if name.strip()]
    return factorial(space, over, options.levels, range(options.seed, options.seed + options.seeds))


def _stored(storage: str, name: str) -> tuple[bool, dict[str, Any] | None]:
    if not database_exists(storage):
        return False, None
    return stored_identity(open_storage(storage, create=False), name)


def _worker_setup(options: SweepOptions, asked: _Asked) -> WorkerSetup:
    return WorkerSetup(
        model=str(asked.start.folder) if asked.start else options.model,
        dataset=options.dataset,
        stage=asked.space.stage,
        cutoff_len=asked.budget.cutoff_len,
        max_samples=asked.budget.max_samples,
        val_size=asked.budget.val_size,
        seed=options.seed,
        dtype=options.dtype,
        threads=0,
        trust_remote_code=options.trust_remote_code,
        cache_dir=cache_dir(),
        merge=asked.start.merge if asked.start else None,
    )


def _run(options: SweepOptions, asked: _Asked, launcher: Launcher, console: Console) -> Outcome:
    """The part of a sweep that has workers."""
    ready = launcher.ready()
    train_rows = int(str(ready.data["train_rows"]))
    space, note = drop_idle_epochs(asked.space, asked.budget, train_rows)
    sharing = len(asked.slots) // len({slot.gpus for slot in asked.slots})
    plan = Plan(space, asked.budget, ready, options.seed, options.early_stopping_patience, sharing)
    plan.check_targets()
    storage = open_storage(options.storage, create=True)
    study = _open_study(options, asked, storage, _identity(options, asked, ready))
    study.set_user_attr(
        SOURCE,
        {
            "space": options.space,
            "model": options.model,
            "dataset": options.dataset,
            "form": ready.data["form"],
            "rows": ready.data["rows_read"],
            "dtype": ready.model.dtype,
            "device": ready.device.name,
            FROM: asked.start.origin.to_dict() if asked.start else None,
        },
    )
    for key, value in asked.attributes.items():
        study.set_user_attr(key, value)
    study.sampler = SeededTPE(options.seed, asked.total)
    study.pruner = PRUNERS[asked.pruner](asked.budget.evaluations)
    results = Results(storage.engine, study.study_name)
    waiting = put_back_interrupted(study)
    results.close_failed(trial.number for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)))
    done = len(finished_trials(study))
    told = header.lines(
        plan, options, study.study_name, asked.slots, done=done, waiting=len(waiting), note=note, start=asked.start
    )
    told += header.design_lines(asked.design)
    say(console, told, indent=header.INDENT)
    with make_progress(console, launcher.slots) as progress:
        session = Session(
            plan=plan,
            launcher=launcher,
            results=results,
            artifacts=Artifacts(options.output),
            progress=progress,
            output=options.output,
            total=asked.total,
            keep_adapters=options.keep_adapters,
        )
        with stop_on_signals(session), explained(options.storage):
            try:
                _search(session, study, asked.design.cells_in(space)[: asked.total])
            except TrialInterrupted:
                pass
            finally:
                launcher.close()
            saved = put_back_own(study)
    finished = finished_trials(study)
    return Outcome(
        study_name=study.study_name,
        finished=len(finished),
        total=asked.total,
        complete=sum(trial.state == TrialState.COMPLETE for trial in finished),
        saved=len(saved),
        interrupted=session.stopping.is_set(),
    )


def _identity(options: SweepOptions, asked: _Asked, ready: Ready) -> Identity:
    return Identity.of(asked.space, asked.budget, options.seed, ready, asked.design.kind)


def _open_study(options: SweepOptions, asked: _Asked, storage: RDBStorage, identity: Identity) -> optuna.Study:
    """The study of that name if it is of the same, a new one else."""
    name = asked.study_name
    exists, stored = stored_identity(storage, name)
    if exists and options.force and (stored is None or identity.differences(stored)):
        name, exists = free_name(storage, name), False
    if not exists:
        return create_study(storage, name, identity, asked.space)
    check_identity(name, stored, identity)
    return optuna.load_study(study_name=name, storage=storage)


def _search(session: Session, study: optuna.Study, cells: Sequence[Cell]) -> None:
    """Has Optuna run trials until the study's total is reached, or every cell of its design is run.

    Rounds, because a failed trial, and one that a constraint ruled out, does not count.
    """
    objective, watch = make_objective(session), FailureWatch()
    while not session.stopping.is_set():
        left = session.total - len(finished_trials(study))
        if cells:
            left = min(left, enqueue_missing(study, cells))
        if left <= 0:
            return
        study.optimize(
            objective,
            n_trials=left,
            n_jobs=min(session.launcher.slots, left),
            catch=(TrialFailed, WorkerDied),
            callbacks=[watch, clean_up(session.output)],
        )
        watch.raise_if_hopeless()
