"""Makes and reopens studies: what a study is of, whether a run may go on with it, and which trials count."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from spaces.space import SearchSpace
from sweep.budget import Budget
from sweep.design import TPE
from sweep.errors import SweepError
from sweep.quantization import precision
from sweep.scaling import Scaling, difference
from sweep.sweep_storage import SweepStorage
from sweep.version import __version__
from trials.protocol import Ready

# The study's user attribute that says what it is of; what a dashboard shows beside the study.
IDENTITY = "sweep"
# The study's user attribute that says how space, model and data were asked for: what an export and hints refer to.
SOURCE = "source"
# The key of a source that says which trial of which study a second stage starts from.
FROM = "from"
# The key of an identity that says that the study was read from a table of runs that were made elsewhere.
IMPORTED = "imported"
# A trial that its constraints alone ruled out; it was never trained and does not count.
INFEASIBLE = "infeasible"
METRIC = "evaluation loss"


@dataclass(frozen=True)
class Identity:
    """What must be equal for losses to compare; each with what people call it and a fingerprint.

    Attributes:
        space: The space's name and fingerprint as it was asked for, and what may be tried: as asked for, and
            resolved, with learning rates that fit the model.
        model: The base model's, None before it is loaded.
        data: The data set's, None before it is loaded.
        budget: Every trial's budget.
        seed: Fixes split, order and first weights.
        code: This program's version.
        scaling: What was done to learning rates; None before the model is loaded.
        design: Whether a sampler chooses, or a grid is run.
    """

    space: dict[str, Any]
    model: dict[str, Any] | None
    data: dict[str, Any] | None
    budget: dict[str, Any]
    seed: int
    code: str
    scaling: dict[str, Any] | None = None
    design: str = TPE

    @classmethod
    def of(
        cls,
        space: SearchSpace,
        budget: Budget,
        seed: int,
        ready: Ready | None = None,
        scaling: Scaling | None = None,
        design: str = TPE,
    ) -> "Identity":
        """What a run is of; without `ready` and `scaling`, what can be known before anything is loaded."""
        model = data = None
        if ready is not None:
            model = {
                "name": ready.model.name,
                "fingerprint": ready.model.fingerprint,
                "quantization_bit": ready.model.quantization_bit,
                "not_quantized": ready.model.not_quantized,
            }
            data = {"name": ready.data["dataset"], "fingerprint": ready.data["fingerprint"]}
        asked = {"name": space.name, "fingerprint": space.fingerprint(), "asked": space.to_dict()}
        asked["resolved"] = (scaling.space if scaling else space).to_dict()
        scaled = scaling.to_dict() if scaling else None
        return cls(asked, model, data, budget.to_dict(), seed, __version__, scaled, design)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as the study keeps it."""
        return vars(self).copy()

    def differences(self, stored: Mapping[str, Any]) -> list[str]:
        """What differs from a stored identity, in words; empty when a run may go on."""
        found = []
        kind = stored.get("design", TPE)
        if kind != self.design:
            return [f"another design ({kind}, now {self.design})"]  # its space differs in consequence
        if self.space["fingerprint"] != stored["space"]["fingerprint"]:
            found.append(_space_difference(stored["space"], self.space))
        for aspect, now in (("model", self.model), ("data set", self.data)):
            before = stored["model" if aspect == "model" else "data"]
            if now is not None and _is_another(before, now):
                names = (_called(before), _called(now))
                told = f"{names[0]}, now {names[1]}" if names[0] != names[1] else f"{names[0]}, its content changed"
                found.append(f"another {aspect} ({told})")
        factor = (stored.get("scaling") or {"factor": 1.0})["factor"]
        # Another model's factor differs as a matter of course.
        if not found and self.scaling is not None and self.scaling["factor"] != factor:
            found.append(difference(factor, self.scaling["factor"]))
        changed = [key for key in self.budget if self.budget[key] != stored["budget"].get(key)]
        if changed:
            told = ", ".join(f"{key} {stored['budget'].get(key)}, now {self.budget[key]}" for key in changed)
            found.append(f"another budget ({told})")
        if stored["seed"] != self.seed:
            found.append(f"another seed ({stored['seed']}, now {self.seed})")
        if stored["code"] != self.code:
            found.append(f"another version of this program ({stored['code']}, now {self.code})")
        return found


def _is_another(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a model or data set differs in its content, a model also in its precision."""
    return any(before.get(key) != now.get(key) for key in ("fingerprint", "quantization_bit"))


def _called(aspect: Mapping[str, Any]) -> str:
    """A model's or data set's name, a model's with its precision or why that is not what it might be."""
    without = aspect.get("not_quantized")
    held_in = f"not quantised, as {without}" if without else precision(aspect)
    return f"{aspect['name']} ({held_in})" if held_in else str(aspect["name"])


def _space_difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if before["name"] != now["name"]:
        return f"another space ({before['name']}, now {now['name']})"
    knobs = []
    asked_before, asked_now = before.get("asked", before["resolved"]), now["asked"]
    for part in sorted(set(asked_before) | set(asked_now)):
        old, new = asked_before.get(part), asked_now.get(part)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            knobs += [key for key in sorted(set(old) | set(new)) if old.get(key) != new.get(key)]
        else:
            knobs.append(part)
    return f"another version of the space {now['name']} (differs in {', '.join(dict.fromkeys(knobs))})"


def check_identity(study_name: str, stored: Mapping[str, Any] | None, now: Identity) -> None:
    """Refuses to go on with a study of something else.

    Raises:
        SweepError: Something differs; all differences are named.
    """
    if stored is None:
        raise SweepError(
            f"study {study_name!r} was not made by this program; its trials would not compare. "
            "Give this one its own name with STUDY, or add --force"
        )
    if IMPORTED in stored:
        raise SweepError(
            f"study {study_name!r} was imported from {stored[IMPORTED]['file']}; no run can go on with it. "
            "Give this one its own name with STUDY, or add --force"
        )
    found = now.differences(stored)
    if found:
        raise differing(study_name, found)


def differing(study_name: str, found: Sequence[str]) -> SweepError:
    """The refusal to go on with a study of something else; `found` says what differs, in words."""
    return SweepError(
        f"study {study_name!r} was made with {', '.join(found)}; losses would not compare.\n"
        "Give this one its own name: STUDY=another-name (or --force to have one chosen)."
    )


def stored_identity(storage: RDBStorage, name: str) -> tuple[bool, dict[str, Any] | None]:
    """Whether a study of that name exists, and what it is of (None when another program made it)."""
    for summary in optuna.get_all_study_summaries(storage, include_best_trial=False):
        if summary.study_name == name:
            return True, summary.user_attrs.get(IDENTITY)
    return False, None


def free_name(storage: RDBStorage, name: str) -> str:
    """The first of `name-2`, `name-3`, … that no study has."""
    taken = set(optuna.get_all_study_names(storage))
    number = 2
    while f"{name}-{number}" in taken:
        number += 1
    return f"{name}-{number}"


def create_study(storage: SweepStorage, name: str, identity: Identity, space: SearchSpace) -> optuna.Study:
    """Makes a study, with the guide's starting points as its first trials, all at once.

    Raises:
        DuplicatedStudyError: Another process has just made one of that name.
    """
    storage.add_study(name, METRIC, {IDENTITY: identity.to_dict()}, space.start)
    return optuna.load_study(storage=storage, study_name=name)


def load_study(storage: RDBStorage, name: str) -> optuna.Study:
    """Opens a study to look at it.

    Raises:
        SweepError: There is none of that name.
    """
    names = optuna.get_all_study_names(storage)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        listed = ", ".join(sorted(names)[:10]) or "none yet"
        raise SweepError(f"no study named {name!r}.{hint} Studies there: {listed}")
    return optuna.load_study(storage=storage, study_name=name, sampler=optuna.samplers.RandomSampler())


def is_finished(trial: FrozenTrial) -> bool:
    """Whether a trial counts towards N_TRIALS: complete or pruned, and not ruled out by a constraint."""
    return trial.state in (TrialState.COMPLETE, TrialState.PRUNED) and INFEASIBLE not in trial.user_attrs


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count, by number."""
    return [trial for trial in study.get_trials(deepcopy=False) if is_finished(trial)]


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """The complete trial of lowest value; None before the first."""
    complete = [t for t in finished_trials(study) if t.state == TrialState.COMPLETE and t.value is not None]
    return min(complete, key=lambda trial: trial.value or 0.0, default=None)


def start_loss(study: optuna.Study) -> float | None:
    """The loss before training on the study's evaluation rows, in nats per token; None where it was not measured."""
    known: float | None = study.user_attrs.get(SOURCE, {}).get("start_loss")
    return known
