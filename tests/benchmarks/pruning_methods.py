"""What the bench of pruners compares: each method with the settings that it is tuned over.

A grid here is all that was tried. Settings are tuned on the curves for development alone (`pruning_simulator --tune`),
by one criterion for all, and kept in `tests/benchmarks/curves/tuned.json`.
"""

import importlib.util
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna import pruners
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from sweep.pruners import TrendPruner
from tests.benchmarks.promoting import Promoting
from tests.benchmarks.recorded_curves import Curve
from tests.benchmarks.replay import Scheduler
from tests.benchmarks.schedulers import Asha, FixedBudget, Pruned

Settings = Mapping[str, Any]
STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)


@dataclass(frozen=True)
class Method:
    """A way to stop trials early.

    Attributes:
        name: In the table.
        make: A fresh scheduler of a study's trials, from the settings and the study's name.
        grid: The values of each setting that are tried.
        stock: Whether it is a baseline.
    """

    name: str
    make: Callable[[Sequence[Curve], Settings, str], Scheduler]
    grid: Mapping[str, Sequence[Any]]
    stock: bool = True

    def settings(self) -> list[dict[str, Any]]:
        """All of the grid."""
        return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]


class DampedSlope(BasePruner):
    """Prunes what a damped slope, extrapolated to the horizon, leaves above the lowest loss that a rival has reported.

    Args:
        horizon: Reports of a whole trial.
        damping: Each report's change is taken for so much of the one before.
        least_reports: Nothing is pruned before.
        rivals: "complete" for complete trials, "all" for any other.
    """

    def __init__(self, horizon: int, damping: float, least_reports: int, rivals: str) -> None:
        self._horizon, self._damping, self._least = horizon, damping, least_reports
        self._states = (TrialState.COMPLETE,) if rivals == "complete" else STATES

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial should stop now."""
        values = list(trial.intermediate_values.values())
        if len(values) < max(2, self._least):
            return False
        slope = sum(self._damping**k for k in range(1, self._horizon - len(values) + 1)) * (values[-1] - values[-2])
        # Not the other way round: a loss that is not finite is above any.
        return not min(min(values), values[-1] + slope) <= self._lowest(study, trial)

    def _lowest(self, study: optuna.Study, trial: FrozenTrial) -> float:
        rivals = [t for t in study.get_trials(deepcopy=False, states=self._states) if t.number != trial.number]
        losses = [loss for rival in rivals for loss in rival.intermediate_values.values() if math.isfinite(loss)]
        return min(losses, default=math.inf)


def _pruner(make: Callable[[int, Settings], BasePruner]) -> Callable[[Sequence[Curve], Settings, str], Scheduler]:
    return lambda curves, settings, name: Pruned(curves, make(curves[0].horizon, settings), name)


def _median(settings: Settings) -> BasePruner:
    return pruners.MedianPruner(n_startup_trials=settings["startup"], n_warmup_steps=settings["warmup"])


METHODS: tuple[Method, ...] = (
    Method("none", _pruner(lambda horizon, s: pruners.NopPruner()), {}),
    Method("median", _pruner(lambda horizon, s: _median(s)), {"startup": (1, 3, 5), "warmup": (0, 3, 5, 8)}),
    Method(
        "percentile",
        _pruner(lambda horizon, s: pruners.PercentilePruner(s["percentile"], s["startup"], s["warmup"])),
        {"percentile": (10.0, 25.0, 40.0, 75.0), "startup": (1, 3), "warmup": (0, 3, 5, 8)},
    ),
    Method(
        "successive halving",
        _pruner(
            lambda horizon, s: pruners.SuccessiveHalvingPruner(min_resource=s["first_rung"], reduction_factor=s["eta"])
        ),
        {"first_rung": ("auto", 1, 2, 3, 4, 6, 8), "eta": (2, 3, 4)},
    ),
    Method(
        "hyperband",
        _pruner(lambda horizon, s: pruners.HyperbandPruner(s["first_rung"], horizon, s["eta"])),
        {"first_rung": (1, 2, 4), "eta": (2, 3, 4)},
    ),
    Method(
        "patient over median",
        _pruner(lambda horizon, s: pruners.PatientPruner(_median({**s, "startup": 1}), s["patience"])),
        {"patience": (0, 1, 2, 4), "warmup": (0, 3)},
    ),
    Method(
        "threshold",  # in nats per token, which no user knows before
        _pruner(lambda horizon, s: pruners.ThresholdPruner(upper=s["upper"], n_warmup_steps=s["warmup"])),
        {"upper": (2.0, 2.5, 3.0, 3.5, 4.0, 5.0), "warmup": (3, 5, 8)},
    ),
    Method(
        "ASHA, promoting",
        lambda curves, s, name: Asha(len(curves), curves[0].horizon, s["first_rung"], s["eta"]),
        {"first_rung": (1, 2, 3, 4, 6, 8), "eta": (2, 3, 4)},
    ),
    Method(
        "budget, best K",
        lambda curves, s, name: FixedBudget(len(curves), curves[0].horizon, s["budget"], s["keep"]),
        {"budget": (1, 2, 3, 4, 6, 8), "keep": (1, 2, 3, 5, 8)},
    ),
    Method(
        "damped slope",
        _pruner(lambda horizon, s: DampedSlope(horizon, **s)),
        {"damping": (0.5, 0.7, 0.8, 0.9), "least_reports": (2, 3, 4, 6), "rivals": ("complete", "all")},
    ),
    Method("trend", _pruner(lambda horizon, s: TrendPruner(horizon)), {}, stock=False),
    Method("promote", lambda curves, s, name: Promoting(curves), {}, stock=False),
    Method("promote, no start", lambda curves, s, name: Promoting(curves, start_known=False), {}, stock=False),
    Method("promote, even", lambda curves, s, name: Promoting(curves, schedule_known=False), {}, stock=False),
)
# Wilcoxon takes the reports for independent samples, which a curve's are not, and needs scipy, which is no dependency.
if importlib.util.find_spec("scipy"):
    METHODS = (
        *METHODS,
        Method(
            "wilcoxon",
            _pruner(lambda horizon, s: pruners.WilcoxonPruner(p_threshold=s["p"], n_startup_steps=s["startup"])),
            {"p": (0.05, 0.1, 0.2), "startup": (2, 5)},
        ),
    )
