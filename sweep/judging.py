"""Whether a running trial is to be stopped for others: what the study's pruner says, and the audit of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import optuna

from sweep.audit import AUDITED, condemned, drawn
from sweep.pruners import TrendPromotion, TrendPruner
from sweep.recovery import frozen


@dataclass(frozen=True)
class Stop:
    """A trial is to be stopped for others, and why in words."""

    state: Literal["pruned", "parked"]
    reason: str


def never(trial: optuna.Trial, place: str) -> Stop | None:
    """Stops nothing."""
    return None


@dataclass(frozen=True)
class Judge:
    """Judges the trials of a sweep.

    Attributes:
        more: Whether trials are still to be begun.
        audit: Share of the condemned trials that run on.
        seed: Settles which.
    """

    more: Callable[[], bool]
    audit: float
    seed: int

    def __call__(self, trial: optuna.Trial, place: str) -> Stop | None:
        """Whether a trial is to be stopped after its newest report, which is at `place` ("3 of 5")."""
        if AUDITED in trial.user_attrs:
            return None
        stop = self._stop(trial)
        if stop is not None and stop.state == "pruned" and drawn(self.seed, trial.number, self.audit):
            trial.set_user_attr(AUDITED, condemned(place, stop.reason))
            return None
        return stop

    def _stop(self, trial: optuna.Trial) -> Stop | None:
        study, pruner = trial.study, trial.study.pruner
        if isinstance(pruner, TrendPromotion):
            verdict = pruner.judge(study, frozen(trial), more=self.more())
            if verdict.action == "go on":
                return None
            return Stop("parked" if verdict.action == "park" else "pruned", verdict.reason)
        if isinstance(pruner, TrendPruner):
            reason = pruner.explain(study, frozen(trial))
        else:
            reason = f"pruned by {type(pruner).__name__}" if trial.should_prune() else None
        return Stop("pruned", reason) if reason else None
