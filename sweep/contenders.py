"""The trials of a study as pruning sees them: how far each is, what it has reached, and where it is heading."""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweep.projection import Projection, even_progress, project

# User attributes of a trial: how many reports it makes in all and how many of them fall in warm-up; its progress at
# each; the loss before training; and whether it is parked: stopped with its state on disk, to be continued perhaps.
HORIZON = "horizon"
WARMUP = "warmup_reports"
PROGRESS = "progress"
START = "start_loss"
PARKED = "parked"

UNKNOWN = Projection(math.inf, math.inf)


@dataclass(frozen=True)
class Contender:
    """A trial that has reported, and may still be, or has become, the best.

    Attributes:
        number: The trial's.
        losses: Its reports so far, turned so that lower is better.
        progress: Its progress at every report of the whole trial.
        start: The loss before training, turned likewise; None where it is not known.
        warmup: Reports that fall in warm-up.
        running: Whether it is running.
        parked: Whether it waits to be continued.
        complete: Whether it is complete; neither of the three is pruned.
    """

    number: int
    losses: tuple[float, ...]
    progress: Sequence[float]
    start: float | None = None
    warmup: int = 0
    running: bool = False
    parked: bool = False
    complete: bool = False

    @property
    def unfinished(self) -> bool:
        """Whether it may go on."""
        return self.running or self.parked

    @functools.cached_property
    def sound(self) -> bool:
        """Whether all that it reported is finite."""
        return all(math.isfinite(loss) for loss in self.losses)

    @functools.cached_property
    def reached(self) -> float:
        """Its best loss; infinite without a finite one."""
        return min((loss for loss in self.losses if math.isfinite(loss)), default=math.inf)

    @functools.cached_property
    def heading(self) -> Projection:
        """Where its curve is heading; a finished one is where it is."""
        if not self.unfinished:
            return Projection(self.reached, 0.0)
        return project(self.losses, self.progress, self.start) if self.losses and self.sound else UNKNOWN


def contender(trial: FrozenTrial, horizon: int, warmup: int, sign: float) -> Contender:
    """A trial as a contender.

    Args:
        trial: Of a study that minimises, or maximises.
        horizon: Reports of a whole trial that does not say its own.
        warmup: Reports in warm-up of a trial that does not say its own.
        sign: 1 where the study minimises, -1 where it maximises.
    """
    reports, told = trial.intermediate_values, trial.user_attrs
    losses = tuple(sign * reports[step] for step in sorted(reports))
    complete = trial.state == TrialState.COMPLETE
    if complete and trial.value is not None and math.isfinite(trial.value):
        losses = (*losses, sign * trial.value)
    start = told.get(START)
    return Contender(
        number=trial.number,
        losses=losses,
        progress=told.get(PROGRESS) or even_progress(int(told.get(HORIZON, horizon))),
        start=None if start is None else sign * float(start),
        warmup=int(told.get(WARMUP, warmup)),
        running=trial.state == TrialState.RUNNING,
        parked=is_parked(trial),
        complete=complete,
    )


def is_parked(trial: FrozenTrial) -> bool:
    """Whether a trial waits to be promoted."""
    return trial.state == TrialState.WAITING and bool(trial.user_attrs.get(PARKED))


def direction_sign(study: optuna.Study) -> float:
    """What values are multiplied by so that lower is better."""
    return -1.0 if study.direction == optuna.study.StudyDirection.MAXIMIZE else 1.0


def others(contenders: Iterable[Contender], number: int) -> list[Contender]:
    """All but one."""
    return [each for each in contenders if each.number != number]
