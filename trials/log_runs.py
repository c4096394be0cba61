"""Records of a log, turned into runs: each step once, whatever resumes and second writers left in the file."""

import functools
import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trials.logged import EvaluationPoint, LoggedCurve, TrainingPoint

_NONE: Mapping[str, float] = {}
_EVALUATION = re.compile(r"eval_(?P<set>.+)_loss")
# Two processes that write one file jumble its order all along; resumes set a run back a few times.
JUMBLED_SHARE = 0.1
FEWEST_ALIKE = 3  # points at one step: of two, a second process may have written one
LARGEST = 3.5e38  # float32 ends below it
MOST_STEPS = 2**53  # beyond it a float skips whole numbers


class _Taken(NamedTuple):
    """What a record holds of losses: its step, its training point, its evaluation losses, and the run's length."""

    step: int
    point: TrainingPoint | None
    evaluated: Mapping[str, float]
    epoch: float | None
    total: int | None


@dataclass
class _Run:
    """A run as it is put together."""

    training: list[TrainingPoint] = field(default_factory=list)
    evaluations: dict[str, list[EvaluationPoint]] = field(default_factory=dict)
    total: int | None = None
    notes: list[str] = field(default_factory=list)


def number(value: object) -> float | None:
    """A number, or a string that spells one (NaN and infinity included); None for anything else.

    What is larger than a trainer's numbers can be is infinite.
    """
    if type(value) is float:  # nearly always
        return value if -LARGEST <= value <= LARGEST else value * math.inf
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return number(float(value))
    except (ValueError, OverflowError):
        return None


def whole(value: object) -> int | None:
    """A number from 0 to `MOST_STEPS`, rounded; None for anything else."""
    if type(value) is int:  # nearly always
        return value if 0 <= value <= MOST_STEPS else None
    found = number(value)
    return round(found) if found is not None and 0 <= found <= MOST_STEPS else None


def split_runs(records: Iterable[Mapping[str, Any]], total_steps: int | None = None) -> list[LoggedCurve]:
    """The runs of a log, oldest first.

    A step that falls back to a run's first begins another run. One that falls back less far is a resume: what the
    run had logged beyond it is replaced. When steps fall back all along, two processes wrote the file: their losses
    at a step are averaged. An evaluation whose `total_steps` is another than training's was made after training, by
    a counter that began anew: it counts at the last step. Points that are all at one step are counted in their order.
    """
    taken = _taken(records)
    steps = [one.step for one in taken if one.point is not None]
    alike = len(steps) >= FEWEST_ALIKE and len(set(steps)) == 1
    if alike:
        taken, steps = _counted(taken), []
    backward = sum(later < earlier for earlier, later in itertools.pairwise(steps))
    jumbled = backward > max(2.0, JUMBLED_SHARE * len(steps))
    if jumbled:
        taken.sort(key=lambda one: one.step)  # stable
    runs = [_Run()]
    for one in taken:
        _take(runs, one)
    if alike:
        runs[0].notes.append("every point is logged at the same step: they are counted in their order")
    if jumbled:
        runs[0].notes.append("two processes wrote this file: their losses at a step are averaged")
    return [_finished(run, total_steps) for run in runs]


def _taken(records: Iterable[Mapping[str, Any]]) -> list[_Taken]:
    """The records that hold a loss, each with its step: its place in the file where it has none."""
    taken: list[_Taken] = []
    last = 0
    for record in records:
        loss, evaluated = number(record.get("loss")), _evaluated(record)
        if loss is None and not evaluated:
            continue
        step = whole(_given(record, "current_steps", "step"))
        last = last + (loss is not None) if step is None else step
        epoch, total = number(record.get("epoch")), whole(record.get("total_steps"))
        point = None
        if loss is not None:
            rate = number(_given(record, "lr", "learning_rate"))
            point = TrainingPoint(last, epoch, loss, rate, number(record.get("grad_norm")))
        taken.append(_Taken(last, point, evaluated, epoch, total))
    return taken


def _counted(taken: Iterable[_Taken]) -> list[_Taken]:
    """The same with steps that count the training points; an evaluation has the step of the last one before it."""
    counted, step = [], 0
    for one in taken:
        step += one.point is not None
        point = None if one.point is None else one.point._replace(step=step)
        counted.append(one._replace(step=step, point=point))
    return counted


def _take(runs: list[_Run], one: _Taken) -> None:
    run, (step, point, evaluated, epoch, total) = runs[-1], one
    if point is not None:
        if run.training and step < run.training[-1].step:
            run = _fallen_back(runs, step)
        _add(run.training, point)
        run.total = total or run.total
    if not evaluated:
        return
    if point is None and total is not None and run.total is not None and total != run.total:
        step = run.training[-1].step
        run.notes.append(f"an evaluation after training counts from 0 again: it is taken at step {step}")
    for name, value in evaluated.items():
        points = run.evaluations.setdefault(name, [])
        if points and points[-1].step >= step:
            points[:] = [point for point in points if point.step < step]
        points.append(EvaluationPoint(step, epoch, value))


def _add(training: list[TrainingPoint], point: TrainingPoint) -> None:
    """Appends a point, averaging the loss with the last one's when the step is the same."""
    if training and training[-1].step == point.step:
        before = training.pop()
        finite = [loss for loss in (before.loss, point.loss) if math.isfinite(loss)]
        rate = before.learning_rate if point.learning_rate is None else point.learning_rate
        point = point._replace(loss=sum(finite) / len(finite) if finite else point.loss, learning_rate=rate)
    training.append(point)


def _fallen_back(runs: list[_Run], step: int) -> _Run:
    run = runs[-1]
    if step <= run.training[0].step:
        runs.append(_Run())
        return runs[-1]
    dropped = sum(point.step >= step for point in run.training)
    run.training[:] = [point for point in run.training if point.step < step]
    for points in run.evaluations.values():
        points[:] = [point for point in points if point.step < step]
    run.notes.append(f"resumed at step {step}: {dropped} points that it repeats are replaced")
    return run


def _given(record: Mapping[str, Any], *keys: str) -> object:
    """The value of the first key that has one: some writers pad what they do not know with null."""
    for key in keys:
        if (value := record.get(key)) is not None:
            return value
    return None


def _evaluated(record: Mapping[str, Any]) -> Mapping[str, float]:
    """A record's evaluation losses by set. Beside `eval_loss`, others are parts of it (`eval_nll_loss`).

    A closing record's `train_loss` is the mean of the run, and neither a point nor an evaluation.
    """
    if (only := number(record.get("eval_loss"))) is not None:
        return {"": only}
    sets = _sets(tuple(record))
    if not sets:
        return _NONE
    values = ((name, number(record[key])) for key, name in sets)
    return {name: value for name, value in values if value is not None}


@functools.lru_cache(maxsize=256)
def _sets(keys: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The keys of evaluation losses and their sets' names; a log's records have few sorts of keys."""
    matches = ((key, _EVALUATION.fullmatch(key)) for key in keys)
    return tuple((key, match["set"]) for key, match in matches if match)


def _finished(run: _Run, total_steps: int | None) -> LoggedCurve:
    evaluations = {name: tuple(points) for name, points in run.evaluations.items() if points}
    return LoggedCurve(
        tuple(run.training), evaluations, run.total or total_steps or None, tuple(dict.fromkeys(run.notes))
    )
