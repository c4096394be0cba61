"""Replays recorded curves in simulated time: a scheduler says which run goes on, so many run at once, none is trained.

A stopped run that goes on again costs nothing but its further reports: its state is taken to be kept.
"""

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.benchmarks.recorded_curves import Curve


@dataclass(frozen=True)
class Job:
    """A trial, by its place in the order, that a free slot is to run up to and with a report."""

    trial: int
    until: int


class Scheduler(Protocol):
    """Decides what runs. A trial's reports are counted from 1, over all its jobs."""

    def next_job(self) -> Job | None:
        """What a free slot should do; None to wait for what others report."""

    def report(self, trial: int, report: int, loss: float) -> bool:
        """Takes a trial's loss; returns whether its job should go on."""


@dataclass(frozen=True)
class Replay:
    """How a study went.

    Attributes:
        reports: Made by each trial.
        seconds: Simulated time until the last job ended.
        choice: The trial that the study would choose: the best complete one; without any, the best so far.
    """

    reports: tuple[int, ...]
    seconds: float
    choice: int


def replay(curves: Sequence[Curve], scheduler: Scheduler, slots: int) -> Replay:
    """Runs a study over the trials' curves.

    Args:
        curves: Of the trials, in their order.
        scheduler: A fresh one.
        slots: Jobs at once.
    """
    made = [0] * len(curves)
    until = [0] * len(curves)
    clock, free = 0.0, slots
    counter = itertools.count()  # of two that report at once, the one that was started first
    events: list[tuple[float, int, int]] = []

    def advance(trial: int) -> None:
        heapq.heappush(events, (clock + curves[trial].seconds[made[trial]], next(counter), trial))

    while True:
        while free and (job := scheduler.next_job()) is not None:
            until[job.trial] = job.until
            free -= 1
            advance(job.trial)
        if not events:
            return Replay(tuple(made), clock, _choice(curves, made))
        clock, _, trial = heapq.heappop(events)
        loss = curves[trial].losses[made[trial]]
        made[trial] += 1
        if scheduler.report(trial, made[trial], loss) and made[trial] < until[trial]:
            advance(trial)
        else:
            free += 1


def _choice(curves: Sequence[Curve], made: Sequence[int]) -> int:
    complete = [trial for trial, curve in enumerate(curves) if made[trial] == curve.horizon]
    candidates = [trial for trial in complete if math.isfinite(curves[trial].value)] or range(len(curves))
    return min(candidates, key=lambda trial: curves[trial].best_until(made[trial]))
