"""Schedulers of replayed studies: any Optuna pruner, and policies that stop runs and promote the best of them."""

import math
from collections.abc import Sequence

import optuna
from optuna.pruners import BasePruner
from optuna.trial import Trial, TrialState

from sweep.contenders import HORIZON, PROGRESS, START, WARMUP
from tests.benchmarks.recorded_curves import Curve
from tests.benchmarks.replay import Job


class Pruned:
    """One trial after the other in a real Optuna study; its pruner decides at every report.

    Args:
        curves: Of the trials, in their order; losses are not looked at.
        pruner: A fresh one.
        name: The study's: Hyperband draws brackets by it.
    """

    def __init__(self, curves: Sequence[Curve], pruner: BasePruner, name: str) -> None:
        self._curves = curves
        self._study = optuna.create_study(study_name=name, pruner=pruner, sampler=optuna.samplers.RandomSampler(0))
        self._trials: list[Trial] = []
        self._best: list[float] = []

    def next_job(self) -> Job | None:
        """The next trial, to its end."""
        number = len(self._trials)
        if number == len(self._curves):
            return None
        curve = self._curves[number]
        trial = self._study.ask()
        trial.set_user_attr(HORIZON, curve.horizon)
        trial.set_user_attr(WARMUP, curve.warmup_reports)
        trial.set_user_attr(PROGRESS, curve.progress)
        trial.set_user_attr(START, curve.start)
        self._trials.append(trial)
        self._best.append(math.inf)
        return Job(number, curve.horizon)

    def report(self, trial: int, report: int, loss: float) -> bool:
        """Tells the study; asks its pruner, but not after the last report."""
        asked = self._trials[trial]
        asked.report(loss, report)
        if math.isfinite(loss):
            self._best[trial] = min(self._best[trial], loss)
        if report == self._curves[trial].horizon:
            if math.isfinite(self._best[trial]):
                self._study.tell(asked, self._best[trial])
            else:
                self._study.tell(asked, state=TrialState.FAIL)
            return False
        if asked.should_prune():
            self._study.tell(asked, state=TrialState.PRUNED)
            return False
        return True


class Asha:
    """Asynchronous successive halving with true promotion (Li et al., arXiv 1810.05934).

    A free slot takes the best trial that is among the first 1/eta of its rung and not yet promoted, from the highest
    rung down, else a new trial. When all have begun, nothing runs and none is complete, the best of the highest rung
    goes on, so that there is a choice.

    Args:
        trials: How many there are.
        horizon: Reports of a whole run.
        first_rung: Reports up to the first rung; further ones are at eta times it, the last at the horizon.
        eta: Of so many, one is promoted.
    """

    def __init__(self, trials: int, horizon: int, first_rung: int, eta: int) -> None:
        self._rungs = _rungs(first_rung, eta, horizon)
        self._trials, self._eta = trials, eta
        self._reached: list[dict[int, float]] = [{} for _ in self._rungs]
        self._promoted: list[set[int]] = [set() for _ in self._rungs]
        self._begun = self._running = 0

    def next_job(self) -> Job | None:
        """A promotion, a new trial, or, at the end, the best that there is."""
        for rung in reversed(range(len(self._rungs) - 1)):
            ranked = sorted(self._reached[rung], key=self._reached[rung].__getitem__)
            for trial in ranked[: len(ranked) // self._eta]:
                if trial not in self._promoted[rung]:
                    return self._promote(trial, rung)
        if self._begun < self._trials:
            self._begun += 1
            self._running += 1
            return Job(self._begun - 1, self._rungs[0])
        if self._running or self._reached[-1]:
            return None
        highest = max(rung for rung, reached in enumerate(self._reached) if reached)
        return self._promote(min(self._reached[highest], key=self._reached[highest].__getitem__), highest)

    def report(self, trial: int, report: int, loss: float) -> bool:
        """Notes what a trial has at a rung."""
        if report not in self._rungs:
            return True
        self._reached[self._rungs.index(report)][trial] = loss if math.isfinite(loss) else math.inf
        self._running -= 1
        return False

    def _promote(self, trial: int, rung: int) -> Job:
        self._promoted[rung].add(trial)
        self._running += 1
        return Job(trial, self._rungs[rung + 1])


class FixedBudget:
    """All trials to one short budget, then the best of them to their end.

    Args:
        trials: How many there are.
        horizon: Reports of a whole run.
        budget: Reports that every trial makes.
        keep: Trials that go on.
    """

    def __init__(self, trials: int, horizon: int, budget: int, keep: int) -> None:
        self._trials, self._horizon, self._budget, self._keep = trials, horizon, budget, keep
        self._reached: dict[int, float] = {}
        self._best = [math.inf] * trials
        self._begun = 0
        self._left: list[int] | None = None

    def next_job(self) -> Job | None:
        """A new trial; once all have had their budget, one of the best."""
        if self._begun < self._trials:
            self._begun += 1
            return Job(self._begun - 1, self._budget)
        if self._left is None:
            if len(self._reached) < self._trials:
                return None
            self._left = sorted(self._reached, key=self._reached.__getitem__)[: self._keep]
        return Job(self._left.pop(0), self._horizon) if self._left else None

    def report(self, trial: int, report: int, loss: float) -> bool:
        """Notes a trial's best loss at the budget."""
        self._best[trial] = min(self._best[trial], loss if math.isfinite(loss) else math.inf)
        if report == self._budget:
            self._reached[trial] = self._best[trial]
        return True


def _rungs(first: int, eta: int, horizon: int) -> list[int]:
    rungs = []
    while first < horizon:
        rungs.append(first)
        first *= eta
    return [*rungs, horizon]
