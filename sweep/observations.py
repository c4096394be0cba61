"""What a comparison looks at: each finished trial's knobs and loss, and, where it was pruned, where it was heading."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweep.projection import TIE, Projection, project

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
        progress: Its progress at every report of the whole trial (`trials.schedule.learning_progress`).
        pruned: Whether it was pruned, else complete.
        start: The loss before training, in nats per token; None where it is not known.
    """

    number: int
    knobs: Mapping[str, Value]
    losses: Sequence[float]
    value: float
    progress: Sequence[float]
    pruned: bool
    start: float | None = None

    def heading(self, reports: int) -> Projection:
        """Where the first so many reports were heading."""
        return project(self.losses[:reports], self.progress, self.start)


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
    projected to their ends (`sweep.projection`), and the projection's expected change is scaled by how much of it the
    study's complete curves made come true from the same reports on: one that promises too much would flatter the levels
    that are pruned most. A pruned trial whose curve says nothing yet is left out.
    """
    usable = [trial for trial in trials if not trial.pruned or _tells(trial)]
    scale, spread = _calibration(usable)
    seen = []
    for trial in usable:
        if not trial.pruned:
            seen.append(Observation(trial.number, trial.knobs, trial.value))
            continue
        end = trial.heading(len(trial.losses))
        change = end.loss - trial.losses[-1]
        loss = min(trial.value, trial.losses[-1] + scale * change)
        seen.append(Observation(trial.number, trial.knobs, loss, spread * end.error, pruned=True))
    return seen


def _tells(trial: Ended) -> bool:
    sound = bool(trial.losses) and all(math.isfinite(loss) for loss in trial.losses)
    return sound and math.isfinite(trial.heading(len(trial.losses)).error)


def _calibration(trials: Sequence[Ended]) -> tuple[float, float]:
    """Which share of a projected change comes true, and by what its error is to be multiplied.

    Every complete curve is cut where a pruned one ended, and projected; the share is the least-squares line through
    the origin from the expected changes to those that came, each weighed by its projection's error, since some cuts
    are early and some late. (1, 1) with too few complete curves.
    """
    cuts = Counter(len(trial.losses) for trial in trials if trial.pruned)
    complete = [trial for trial in trials if not trial.pruned and trial.losses]
    if len(complete) < LEAST_CURVES or not cuts:
        return 1.0, 1.0
    expected, came = [], []  # in standard deviations
    for trial in complete:
        for cut, times in cuts.items():  # many are pruned at the same few reports
            if cut >= len(trial.losses):
                continue
            end, last = trial.heading(cut), trial.losses[cut - 1]
            error = max(end.error, TIE)
            if math.isfinite(error) and math.isfinite(last):
                expected += [(end.loss - last) / error] * times
                came += [(trial.value - last) / error] * times
    total = sum(change**2 for change in expected)
    if not total:
        return 1.0, 1.0
    scale = sum(change * true for change, true in zip(expected, came, strict=True)) / total
    scale = min(max(scale, 0.0), MOST_CORRECTION)
    left = [true - scale * change for change, true in zip(expected, came, strict=True)]
    return scale, math.sqrt(sum(error**2 for error in left) / len(left))
