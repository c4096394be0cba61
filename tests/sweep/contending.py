"""Contenders for the rules of pruning and promotion: made of curves, or with the heading that a rule is to see."""

from collections.abc import Sequence

from sweep.contenders import Contender
from sweep.projection import Projection, even_progress

HORIZON = 10


def of_curve(
    number: int,
    losses: Sequence[float],
    *,
    horizon: int = HORIZON,
    start: float | None = None,
    warmup: int = 0,
    **state: bool,
) -> Contender:
    """A trial that has reported this much, as much learnt with each report; `state` as of `Contender`."""
    return Contender(number, tuple(losses), even_progress(horizon), start, warmup, **state)


def headed(
    number: int,
    loss: float,
    error: float = 0.0,
    *,
    reached: float | None = None,
    reports: int = 5,
    warmup: int = 0,
    **state: bool,
) -> Contender:
    """A trial whose curve is heading there; what it has reached is far above unless it is said, or it is finished."""
    unfinished = state.get("running", False) or state.get("parked", False)
    best = reached if reached is not None else loss + 5.0 if unfinished else loss
    made = of_curve(number, [best] * reports, start=loss + 6.0, warmup=warmup, **state)
    if unfinished:
        vars(made)["heading"] = Projection(loss, error)
    return made


def power_law(
    start: float, drop: float, exponent: float, progress: Sequence[float], reports: int | None = None
) -> list[float]:
    """The losses of a curve that falls by `drop` from `start` as a power of progress."""
    return [start - drop * share**exponent for share in progress[:reports]]
