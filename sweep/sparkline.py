"""A learning curve in a few characters."""

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from typing import Final

BARS: Final = "▁▂▃▄▅▆▇█"
DIVERGED: Final = "×"


def sparkline(values: Sequence[float], width: int = 10) -> str:
    """Draw values as bars, scaled to their own range: the lowest is ▁, the highest █.

    Values that do not differ are all low. A value that is not finite is ×. More values than `width` are cut
    into `width` consecutive buckets of nearly equal size, and each draws its mean; a bucket with a value that
    is not finite draws ×, so that no divergence is averaged away.

    Args:
        values: The curve, oldest first.
        width: The most characters that the drawing takes.

    Returns:
        min(len(values), width) characters.

    Raises:
        ValueError: `width` is below 1.
    """
    if width < 1:
        raise ValueError(f"a sparkline needs a width of at least 1, not {width}")
    points = _buckets(values, width) if len(values) > width else list(values)
    finite = [point for point in points if isfinite(point)]
    if not finite:
        return DIVERGED * len(points)
    low, high = min(finite), max(finite)
    return "".join(_bar(point, low, high) for point in points)


def _buckets(values: Sequence[float], width: int) -> list[float]:
    """Means of `width` consecutive parts that together hold every value once."""
    bounds = [index * len(values) // width for index in range(width + 1)]
    return [_mean(values[start:stop]) for start, stop in pairwise(bounds)]


def _mean(values: Sequence[float]) -> float:
    """The mean, not finite when a value is not."""
    # Dividing first keeps the sum of huge finite losses finite.
    return sum(value / len(values) for value in values)


def _bar(value: float, low: float, high: float) -> str:
    if not isfinite(value):
        return DIVERGED
    # Halves, since the difference of two huge finite values can overflow.
    span = high / 2 - low / 2
    share = (value / 2 - low / 2) / span if span > 0 else 0.0
    return BARS[min(int(share * len(BARS)), len(BARS) - 1)]
