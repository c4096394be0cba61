"""Pruning by the trend of the evaluation loss, and the stock pruners that can stand in for it.

A pruner sees a study's reported values only: evaluation losses by evaluation index, lower is better. What one
curve says by itself (divergence, over-fitting) is `trials.curve`'s.
"""

from collections.abc import Callable

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from sweep import promotion
from sweep.contenders import direction_sign, others
from sweep.field import Field
from sweep.trend import reason_to_prune


class TrendPruner(BasePruner):
    """Prunes a trial that is projected to end clearly behind the best one.

    Each curve is projected to its own end by its own schedule, so that trials of different length, and trials that run
    at the same time, compare. Complete, pruned and running trials all count as rivals, each by what it has reached; the
    leader is never pruned, nor is the last hope, and nothing is pruned in warm-up.

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
        self._field = Field(horizon, warmup_reports)

    def prune(self, study: optuna.study.Study, trial: FrozenTrial) -> bool:
        """Whether the trial should stop now."""
        return self.explain(study, trial) is not None

    def explain(self, study: optuna.study.Study, trial: FrozenTrial) -> str | None:
        """Why the trial should stop now, in words; None when it should go on."""
        mine = self._field.one(study, trial)
        if not mine.losses:
            return None
        return reason_to_prune(mine, others(self._field.of(study), mine.number), direction_sign(study))


class TrendPromotion(TrendPruner):
    """Decides what goes on, what is parked and what is taken up again.

    In an Optuna study that does not park it prunes as `TrendPruner` does.
    """

    def judge(self, study: optuna.Study, trial: FrozenTrial, *, more: bool) -> promotion.Verdict:
        """What a running trial should do after its newest report; `more` says whether trials are still to be begun."""
        mine = self._field.one(study, trial)
        rivals = others(self._field.of(study), mine.number)
        return promotion.verdict(mine, rivals, more=more, sign=direction_sign(study))

    def promoted(self, study: optuna.Study, *, more: bool) -> int | None:
        """The number of the parked trial that a free slot should take up; None for none."""
        return promotion.promoted(self._field.of(study), more=more)

    def given_up(self, study: optuna.Study, *, over: bool) -> dict[int, str]:
        """The parked trials to give up, by number, with the reason; `over` says that nothing is left to run."""
        return promotion.given_up(self._field.of(study), over=over, sign=direction_sign(study))


# The one place to add a pruner: what `--pruner` may say, each made from the study's horizon.
PRUNERS: dict[str, Callable[[int], BasePruner]] = {
    "promote": lambda horizon: TrendPromotion(horizon),
    "trend": lambda horizon: TrendPruner(horizon),
    "median": lambda horizon: optuna.pruners.MedianPruner(n_warmup_steps=max(1, horizon // 3)),
    "none": lambda horizon: optuna.pruners.NopPruner(),
}
# Those that make something of the loss before training.
START_LOSS = ("promote", "trend")
