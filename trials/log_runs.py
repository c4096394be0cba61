"""Records of a log, turned into runs: each step once, whatever resumes and second writers left in the file."""

import itertools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trials.logged import EvaluationPoint, LoggedCurve, TrainingPoint

_EVALUATION = re.compile(r"eval_(?P<set>.+)_loss")
# Two processes that write one file jumble its order all along; resumes set a run back a few times.
JUMBLED_SHARE = 0.1


class _Taken(NamedTuple):
    """A record that holds a loss: its step, the losses, and the record itself."""

    step: int
    loss: float | None
    evaluated: Mapping[str, float]
    record: Mapping[str, Any]


@dataclass
class _Run:
    """A run as it is put together."""

    training: list[TrainingPoint] = field(default_factory=list)
    evaluations: dict[str, list[EvaluationPoint]] = field(default_factory=dict)
    totals: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def number(value: object) -> float | None:
    """A number, or a string that spells one (NaN and infinity included); None for anything else."""
    if type(value) is float:  # nearly always
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def whole(value: object) -> int | None:
    """A finite number of at least 0, rounded; None for anything else."""
    found = number(value)
    return round(found) if found is not None and math.isfinite(found) and found >= 0 else None


def split_runs(records: Iterable[Mapping[str, Any]], total_steps: int | None = None) -> list[LoggedCurve]:
    """The runs of a log, oldest first.

    A step that falls back to a run's first begins another run. One that falls back less far is a resume: what the
    run had logged beyond it is replaced. When steps fall back all along, two processes wrote the file: their losses
    at a step are averaged. An evaluation whose `total_steps` is another than training's was made after training, by
    a counter that began anew: it counts at the last step.
    """
    taken = _taken(records)
    steps = [one.step for one in taken if one.loss is not None]
    backward = sum(later < earlier for earlier, later in itertools.pairwise(steps))
    jumbled = backward > max(2.0, JUMBLED_SHARE * len(steps))
    if jumbled:
        taken.sort(key=lambda one: one.step)  # stable
    runs = [_Run()]
    for one in taken:
        _take(runs, one)
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
        taken.append(_Taken(last, loss, evaluated, record))
    return taken


def _take(runs: list[_Run], one: _Taken) -> None:
    run, step, record = runs[-1], one.step, one.record
    epoch, total = number(record.get("epoch")), whole(record.get("total_steps"))
    if one.loss is not None:
        if run.training and step < run.training[-1].step:
            run = _fallen_back(runs, step)
        rate = number(_given(record, "lr", "learning_rate"))
        _add(run.training, TrainingPoint(step, epoch, one.loss, rate, number(record.get("grad_norm"))))
        run.totals += [total] if total else []
    anew = one.loss is None and total is not None and bool(run.totals) and total != run.totals[-1]
    for name, value in one.evaluated.items():
        points = run.evaluations.setdefault(name, [])
        if anew:
            step = run.training[-1].step
            run.notes.append(f"an evaluation after training counts from 0 again: it is taken at step {step}")
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
    return next((record[key] for key in keys if record.get(key) is not None), None)


def _evaluated(record: Mapping[str, Any]) -> dict[str, float]:
    """A record's evaluation losses by set. Beside `eval_loss`, others are parts of it (`eval_nll_loss`).

    A closing record's `train_loss` is the mean of the run, and neither a point nor an evaluation.
    """
    if (only := number(record.get("eval_loss"))) is not None:
        return {"": only}
    found: dict[str, float] = {}
    for key in record:
        if key.startswith("eval_") and (match := _EVALUATION.fullmatch(key)):
            value = number(record[key])
            found |= {match["set"]: value} if value is not None else {}
    return found


def _finished(run: _Run, total_steps: int | None) -> LoggedCurve:
    evaluations = {name: tuple(points) for name, points in run.evaluations.items() if points}
    total = run.totals[-1] if run.totals else total_steps
    return LoggedCurve(tuple(run.training), evaluations, total or None, tuple(dict.fromkeys(run.notes)))
