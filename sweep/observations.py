"""What a comparison looks at: each finished trial's knobs and loss, and, where it was pruned, where it was heading."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweep.pruners import project

Value = int | float | str
# Complete curves from which a study's own projections are corrected; with fewer they are taken as they are.
LEAST_CURVES = 3
# A correction beyond this says that curves are not what the projection takes them for.
MOST_CORRECTION = 3.0


@dataclass(frozen=True)
class Ended:
    """A finished trial as it was recorded.

    Attributes:
        number: The trial's.
        knobs: What was searched, and each value.
        losses: Evaluation losses in nats per token, one a report; empty for a run that was made elsewhere.
        value: Its best loss.
        horizon: Reports that it makes in all.
        pruned: Whether it was pruned, else complete.
    """

    number: int
    knobs: Mapping[str, Value]
    losses: Sequence[float]
    value: float
    horizon: int
    pruned: bool


@dataclass(frozen=True)
class Observation:
    """One finished trial, as a comparison takes it.

    Attributes:
        number: The trial's.
        knobs: What was searched, and each value.
        loss: In nats per token: the best of a complete trial, the projected best of a pruned one.
        error: One standard deviation of that projection, in nats; 0 for a complete trial.
        pruned: Whether it was pruned.
    """

    number: int
    knobs: Mapping[str, Value]
    loss: float
    error: float = 0.0
    pruned: bool = False


def observe(trials: Sequence[Ended]) -> list[Observation]:
    """Takes complete trials at their best loss and pruned ones at where they were heading.

    To leave pruned trials out would take away the worst of every level, and most of the worst levels. Their curves are
    projected to the horizon (`sweep.pruners.project`), and the projection's expected change is scaled by how much of
    it the study's complete curves made come true from the same reports on: one that promises too much would flatter
    the levels that are pruned most. A pruned trial without two finite reports tells nothing and is left out.
    """
    usable = [trial for trial in trials if not trial.pruned or _tells(trial)]
    scale, spread = _calibration(usable)
    seen = []
    for trial in usable:
        if not trial.pruned:
            seen.append(Observation(trial.number, trial.knobs, trial.value))
            continue
        end = project(trial.losses, trial.horizon)
        change = end.loss - trial.losses[-1]
        loss = min(trial.value, trial.losses[-1] + scale * change)
        error = end.error if spread is None else spread
        seen.append(Observation(trial.number, trial.knobs, loss, error, pruned=True))
    return seen


def _tells(trial: Ended) -> bool:
    return len(trial.losses) >= 2 and all(math.isfinite(loss) for loss in trial.losses)


def _calibration(trials: Sequence[Ended]) -> tuple[float, float | None]:
    """Which share of a projected change comes true, and the standard deviation of what remains, in nats.

    Every complete curve is cut where a pruned one ended, and projected; the share is the least-squares line through
    the origin from the expected changes to those that came. (1, None) with too few complete curves.
    """
    cuts = [len(trial.losses) for trial in trials if trial.pruned]
    complete = [trial for trial in trials if not trial.pruned and trial.losses]
    if len(complete) < LEAST_CURVES or not cuts:
        return 1.0, None
    expected, came = [], []
    for trial in complete:
        for cut in cuts:
            if cut < len(trial.losses):
                end = project(trial.losses[:cut], trial.horizon)
                expected.append(end.loss - trial.losses[cut - 1])
                came.append(trial.value - trial.losses[cut - 1])
    total = sum(change**2 for change in expected)
    if not total:
        return 1.0, None
    scale = sum(change * true for change, true in zip(expected, came, strict=True)) / total
    scale = min(max(scale, 0.0), MOST_CORRECTION)
    left = [true - scale * change for change, true in zip(expected, came, strict=True)]
    return scale, math.sqrt(sum(error**2 for error in left) / len(left))
