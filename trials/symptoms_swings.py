"""What the training loss shows of steps that are too large: oscillation (guide 1.2, 2.1)."""

from dataclasses import dataclass

import numpy as np

from trials.curve import noise
from trials.finding import Finding
from trials.shape import CLEAR, Array, Shape, finite

# Correlation of a curve's distances from its trend, at some lag, that batch noise does not have: its own is 0, and
# rows that are not well shuffled bring it to 0.3.
SWING_CORRELATION = 0.35
MOST_LAGS = 6  # a wave of that period or less comes back to itself; a slower one is still near itself at the first
# Swings (standard deviation of what neighbours share) below this share of the loss do no harm.
SWING_SHARE = 0.07
SWINGS = 3  # fewer excursions are events, no state
FEWEST_FOR_SWINGS = 20  # points
# A jump up: above the median of so many points before it by this many times the noise, by this much (as a logarithm),
# and by this share of the loss that the run began with; jumps count from this share of the points.
JUMP_BEFORE = 5
JUMP_NOISE = 8.0
JUMP_SHARE = 0.4
JUMP_OF_START = 0.1
JUMPS_SHARE = 0.003
# A hump of an evaluation loss: this share and this many nats up, and at least this share of that down again.
HUMP_SHARE = 0.02
HUMP_NATS = 0.01
HUMP_BACK = 0.5
HUMP_OVER_NOISE = 3.0
FEWEST_FOR_NOISE = 8  # evaluations; of fewer, the hump itself would pass for noise
FEWEST_EVALUATIONS = 4


@dataclass(frozen=True)
class Swings:
    """How a curve swings about its falling trend.

    Attributes:
        correlation: Of distances from the trend, at the lag where it is strongest.
        share: Standard deviation of what neighbours share, as a share of the loss.
        count: Times that it went up by that and came back.
        jumps: Times that it stood far above the points before.
        start: Index of the first point that is away.
    """

    correlation: float
    share: float
    count: int
    jumps: int
    start: int


def oscillation(shape: Shape) -> Finding | None:
    """Loss that jumps or swings by more than its own noise explains."""
    return _swinging(shape) or _hump(shape)


def _hump(shape: Shape) -> Finding | None:
    """An evaluation loss that rises and comes back by more than its noise: its rows are always the same."""
    for name, points in shape.curve.evaluations.items():
        known = finite(points)
        losses = np.array([point.loss for point in known])
        if len(losses) < FEWEST_EVALUATIONS or losses.min() <= 0:
            continue
        rises = losses / np.maximum(np.minimum.accumulate(losses), HUMP_NATS) - 1
        top = int(rises.argmax())
        low, high, after = float(losses[: top + 1].min()), float(losses[top]), float(losses[top:].min())
        # Swings die down with the rate, and noise stays: it is what the second half has.
        rough = HUMP_OVER_NOISE * noise(losses[len(losses) // 2 :]) if len(losses) >= FEWEST_FOR_NOISE else 0.0
        if rises[top] < HUMP_SHARE or high - low < max(HUMP_NATS, rough) or high - after < HUMP_BACK * (high - low):
            continue
        start = known[int(losses[: top + 1].argmin())].step
        named = f"evaluation loss of {name}" if name else "evaluation loss"
        return Finding(
            "oscillation",
            f"from step {start}: {named} rises {low:.4g} → {high:.4g} and comes back to {after:.4g}: the steps were "
            "too large at first",
            "1.2, 2.1",
            start,
            numbers={"from": low, "to": high, "back_to": after},
        )
    return None


def _swinging(shape: Shape) -> Finding | None:
    n = len(shape.losses)
    if n < FEWEST_FOR_SWINGS or shape.trend.min() <= 0:
        return None
    found = swings(shape)
    correlated = found.correlation > counting_correlation(n)
    jumpy = found.jumps >= max(SWINGS, JUMPS_SHARE * n)
    start = int(shape.steps[found.start])
    numbers = {"correlation": found.correlation, "share": found.share, "count": found.count, "jumps": found.jumps}
    if correlated and found.share >= SWING_SHARE and found.count >= SWINGS:
        return Finding(
            "oscillation",
            f"from step {start}: {found.count} swings of {found.share:.0%} of the loss that neighbouring points share "
            f"(correlation {found.correlation:.2f}; {counting_correlation(n):.2g} would count, batch noise has none)",
            "1.2, 2.1",
            start,
            numbers=numbers,
        )
    if jumpy:
        return Finding(
            "oscillation",
            f"from step {start}: {found.jumps} jumps of more than {JUMP_NOISE:g} times the curve's own noise and "
            f"{np.expm1(JUMP_SHARE):.0%} of the loss",
            "1.2, 2.1",
            start,
            numbers=numbers,
        )
    return None


def swings(shape: Shape) -> Swings:
    """How losses swing about their falling trend.

    Batch noise is white: neighbouring points do not know of each other. What a too large step does lasts for some
    points, or comes back after some, and shows as correlation at one of the first lags. Below zero it means nothing:
    each epoch deals all rows once, so that after a hard batch easier ones are left. A jump that is over before
    the next point has none, and is counted by its size.
    """
    apart = np.log(np.maximum(shape.losses, 1e-9) / np.maximum(shape.trend, 1e-9)).clip(-2, 2)
    centred = apart - apart.mean()
    n = len(centred)
    variance = float((centred**2).mean())
    if variance <= 0:
        return Swings(0.0, 0.0, 0, 0, 0)
    lags = range(1, min(MOST_LAGS, n // 6) + 1)
    memory = [float((centred[lag:] * centred[:-lag]).sum()) / (n * variance) for lag in lags]
    correlation = max([0.0, *memory])
    share = float(np.sqrt(correlation * variance))
    away = np.flatnonzero(apart > share)
    jumps = _jumps(shape.losses)
    start = int(min([*away[:1], *jumps[:1]], default=0))
    return Swings(correlation, share, _excursions(apart, share), len(jumps), start)


def calmness(shape: Shape) -> str:
    """Why a curve does not oscillate, in words and numbers; empty where nothing can be said."""
    if len(shape.losses) < FEWEST_FOR_SWINGS or shape.trend.min() <= 0:
        return ""
    found = swings(shape)
    return (
        f"what neighbouring points share swings by {found.share:.1%} of the loss ({SWING_SHARE:.0%} would count), "
        f"correlation {found.correlation:.2f} ({counting_correlation(len(shape.losses)):.2g} would count)"
    )


def counting_correlation(points: int) -> float:
    """The correlation from which swings count: of few points, white noise has some by chance."""
    return max(SWING_CORRELATION, CLEAR / float(np.sqrt(points)))


def _jumps(losses: Array) -> list[int]:
    """Indices of the points that stand far above the few before them, however they go on."""
    logs = np.log(np.maximum(losses, 1e-9))
    if len(losses) <= JUMP_BEFORE:
        return []
    before = np.median(np.lib.stride_tricks.sliding_window_view(logs[:-1], JUMP_BEFORE), axis=1)
    up = logs[JUMP_BEFORE:] - before
    noise = 1.4826 * float(np.median(np.abs(up - np.median(up))))
    # A tiny loss may double: in nats that is nothing.
    size = losses[JUMP_BEFORE:] - np.exp(before)
    far = (up > max(JUMP_NOISE * noise, JUMP_SHARE)) & (size > JUMP_OF_START * losses[:JUMP_BEFORE].mean())
    first = far & ~np.concatenate([[False], far[:-1]])
    return [int(index) for index in np.flatnonzero(first) + JUMP_BEFORE]


def _excursions(apart: Array, size: float) -> int:
    """How often losses go up by a size and come back to their trend."""
    marks = np.where(apart > size, 1, np.where(apart < 0.25 * size, -1, 0))
    marks = marks[marks != 0]
    return int(np.sum((marks[:-1] == 1) & (marks[1:] == -1)))
