"""Pruning by the trend of the evaluation loss, and the stock pruners that can stand in for it.

A pruner sees a study's reported values only: evaluation losses by evaluation index, lower is better. What one
curve says by itself (divergence, over-fitting) is `trials.curve`'s.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from trials.curve import noise

# User attributes by which a trial says how many reports it makes in all, and how many of them fall in warm-up.
HORIZON = "horizon"
WARMUP = "warmup_reports"

# Each further report is expected to change the loss by this share of the change before it. Complete curves of the
# default study (five reports) want 0.4 to 0.5 where a trial learns fast, and nearly 1 where it has hardly begun to;
# a change that is expected too large only lets a trial go on for longer.
DAMPING = 0.7
# How far a projection may be off: this share of the change that it expects, at one standard deviation.
RELATIVE_ERROR = 0.5
# Standard deviations by which a trial must be projected behind the best one before it is pruned.
CERTAINTY = 1.5
# A slope needs two reports; below three it is mostly the end of warm-up.
LEAST_REPORTS = 3
# Nats per token: losses closer than this are a tie whatever the projection says.
TIE = 0.002


@dataclass(frozen=True)
class Projection:
    """Where a curve is expected to end: its loss at the horizon and one standard deviation, in nats."""

    loss: float
    error: float

    @property
    def worst(self) -> float:
        """The loss that it will hardly miss."""
        return self.loss + CERTAINTY * self.error


@dataclass(frozen=True)
class _Rival:
    """What another trial has reached, or, still running, is trusted to reach."""

    number: int
    reach: Projection
    running: bool

    def words(self, sign: float) -> str:
        loss = f"{sign * self.reach.loss:.3f}"
        return f"trial {self.number} heads for {loss}" if self.running else f"trial {self.number} reached {loss}"


def project(values: Sequence[float], horizon: int) -> Projection:
    """Extrapolates a curve to its horizon by a damped slope.

    The last change is continued, each report's a `DAMPING` of the one before: a mean of more changes would promise a
    steep beginning's speed to its flat end. The error grows with what is still expected to change, and with the
    curve's own noise.

    Args:
        values: Losses at reports 1, 2, …; at least one, all finite.
        horizon: Reports that the whole curve has.
    """
    left = max(0, horizon - len(values))
    best = min(values)
    if left == 0:
        return Projection(best, noise(values))
    if len(values) == 1:
        return Projection(values[-1], math.inf)
    change = (values[-1] - values[-2]) * sum(DAMPING**k for k in range(1, left + 1))
    # What is counted is a trial's best loss: a rise does not undo it.
    loss = min(best, values[-1] + change)
    return Projection(loss, math.hypot(RELATIVE_ERROR * change, noise(values)))


class TrendPruner(BasePruner):
    """Prunes a trial that is projected to end clearly behind the best one.

    Each curve is projected to its own horizon, so that trials of different length, and trials that run at the
    same time, compare. Complete, pruned and running trials all count as rivals, each by what it reached or is
    projected to reach; the leader is never pruned, and nothing is pruned in warm-up or before three reports.

    Args:
        horizon: Reports that a full trial makes; a trial that has its own says so in the user attribute
            `horizon`.
        warmup_reports: Reports that fall in warm-up, unless the trial says its own in `warmup_reports`.
    """

    def __init__(self, horizon: int, warmup_reports: int = 0) -> None:
        if horizon < 1:
            raise ValueError(f"horizon is {horizon}; allowed: a whole number of at least 1")
        if warmup_reports < 0:
            raise ValueError(f"warmup_reports is {warmup_reports}; allowed: a whole number of at least 0")
        self._horizon, self._warmup = horizon, warmup_reports

    def prune(self, study: optuna.study.Study, trial: FrozenTrial) -> bool:
        """Whether the trial should stop now."""
        return self.explain(study, trial) is not None

    def explain(self, study: optuna.study.Study, trial: FrozenTrial) -> str | None:
        """Why the trial should stop now, in words; None when it should go on."""
        sign = -1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1.0
        values = _values(trial, sign)
        if not values:
            return None
        if not math.isfinite(values[-1]):
            return f"diverged: reported {values[-1]}"
        horizon = int(trial.user_attrs.get(HORIZON, self._horizon))
        warmup = int(trial.user_attrs.get(WARMUP, self._warmup))
        if len(values) < max(LEAST_REPORTS, warmup + 2) or len(values) >= horizon:
            return None
        rival = self._best_rival(study, trial, sign)
        if rival is None:
            return None
        mine, best = project(values, horizon), rival.reach
        if mine.loss - best.loss <= max(TIE, CERTAINTY * math.hypot(mine.error, best.error)):
            return None
        return f"projected {sign * mine.loss:.3f} ± {mine.error:.3f}, and {rival.words(sign)}"

    def _best_rival(self, study: optuna.study.Study, trial: FrozenTrial, sign: float) -> _Rival | None:
        """The best that another trial has reached or can be trusted to reach."""
        rivals = []
        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        for other in study.get_trials(deepcopy=False, states=states):
            if other.number == trial.number:
                continue
            values = _values(other, sign)
            if values and all(math.isfinite(value) for value in values):
                rivals.append(self._rival(other, values))
            elif other.state == TrialState.COMPLETE and other.value is not None and math.isfinite(other.value):
                rivals.append(_Rival(other.number, Projection(sign * other.value, 0.0), running=False))
        # By the end that it will not miss, so that a steep beginning promises nothing.
        return min(rivals, key=lambda rival: rival.reach.worst, default=None)

    def _rival(self, other: FrozenTrial, values: Sequence[float]) -> _Rival:
        """What a trial is good for: what it has reached, or more when it still runs."""
        reached = Projection(min(values), 0.0)
        if other.state == TrialState.RUNNING:
            projected = project(values, int(other.user_attrs.get(HORIZON, self._horizon)))
            if projected.worst < reached.loss:
                return _Rival(other.number, projected, running=True)
        return _Rival(other.number, reached, running=False)


def _values(trial: FrozenTrial, sign: float) -> list[float]:
    """A trial's reported values in order of their steps, turned so that lower is better."""
    return [sign * trial.intermediate_values[step] for step in sorted(trial.intermediate_values)]


# The one place to add a pruner: what `--pruner` may say, each made from the study's horizon.
PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "trend": lambda horizon: TrendPruner(horizon),
    "median": lambda horizon: optuna.pruners.MedianPruner(n_warmup_steps=max(1, horizon // 3)),
    "none": lambda horizon: optuna.pruners.NopPruner(),
}
