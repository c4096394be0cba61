"""The product's promotion as a scheduler of replayed studies: the same rules, on contenders made of recorded curves."""

import math
from collections.abc import Sequence

from sweep.contenders import Contender, others
from sweep.promotion import given_up, promoted, verdict
from tests.benchmarks.recorded_curves import Curve
from tests.benchmarks.replay import Job


class Promoting:
    """Begins all trials, and parks, promotes and gives up as `sweep.searching` does.

    Args:
        curves: Of the trials, in their order; losses are not looked at.
        start_known: Whether the loss before training is.
        schedule_known: Whether progress goes by the schedule, else evenly by reports.
    """

    def __init__(self, curves: Sequence[Curve], *, start_known: bool = True, schedule_known: bool = True) -> None:
        self._curves, self._start_known, self._schedule_known = curves, start_known, schedule_known
        self._trials: list[Contender] = []

    def next_job(self) -> Job | None:
        """The parked trial whose turn it is, else a new one."""
        for number in given_up(self._seen(), over=False):
            self._set(number, self._trials[number].losses)
        taken = promoted(self._seen(), more=self._more())
        if taken is not None:
            self._set(taken, self._trials[taken].losses, running=True)
            return Job(taken, self._curves[taken].horizon)
        if not self._more():
            return None
        number = len(self._trials)
        self._trials.append(self._contender(number, (), running=True))
        return Job(number, self._curves[number].horizon)

    def report(self, trial: int, report: int, loss: float) -> bool:
        """Notes a loss; whether the trial goes on."""
        losses = (*self._trials[trial].losses, loss)
        if report == self._curves[trial].horizon:
            self._set(trial, losses, complete=any(map(math.isfinite, losses)))
            return False
        self._set(trial, losses, running=True)
        told = verdict(self._trials[trial], others(self._seen(), trial), more=self._more())
        if told.action == "go on":
            return True
        self._set(trial, losses, parked=told.action == "park")
        return False

    def _more(self) -> bool:
        return len(self._trials) < len(self._curves)

    def _seen(self) -> list[Contender]:
        return [each for each in self._trials if each.losses and (each.unfinished or math.isfinite(each.reached))]

    def _set(self, number: int, losses: tuple[float, ...], **state: bool) -> None:
        self._trials[number] = self._contender(number, losses, **state)

    def _contender(self, number: int, losses: tuple[float, ...], **state: bool) -> Contender:
        curve = self._curves[number]
        progress = curve.progress if self._schedule_known else [(i + 1) / curve.horizon for i in range(curve.horizon)]
        start = curve.start if self._start_known else None
        return Contender(number, losses, progress, start, curve.warmup_reports, **state)
