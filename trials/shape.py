"""The measures that diagnoses share: a curve's levels, its noise, its swings. All estimated from the curve itself.

A point's noise is its distance from a trend; white noise of a deviation s leaves s / sqrt(m) in a mean of m points.
"Time" is the learning rate added up, 0 to 1, so that a schedule's slow end does not pass for a plateau; steps where the
log has no rates.
"""

import itertools
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trials.curve import noise
from trials.logged import EvaluationPoint, LoggedCurve

Array = NDArray[np.float64]

# Standard errors by which a level must stand out; 3 would pass once in 700 looks, and a curve is looked at often.
CLEAR = 4.0
# Blocks that a curve's levels are read off: enough to see a bend, few enough to average noise out.
BLOCKS = 40
# The falling trend goes through the medians of so many windows or more: spikes do not bend it.
TREND_WINDOWS = 60
LARGEST_WINDOW = 2000  # points
# Training and evaluation loss are on one scale when they are within this factor: a training loss that is summed over
# accumulated micro-batches is 2, 4, 8, … times too large.
SAME_SCALE = 1.7
# ln of the largest vocabularies (256,000) is 12.5: who knows nothing loses that much.
MOST_NATS = 13.0
# A log that ends before this share of its run is not finished: that it still falls is no fault.
FINISHED_SHARE = 0.9
EPOCH_POINTS = 6  # fewest points by which an epoch is told from the next


class Shape:
    """One curve's finite training losses and what follows from them.

    Attributes:
        curve: What was logged.
        steps: Steps of the finite training points, `[points]`.
        losses: Their losses, `[points]`.
        time: When they were, in [0, 1].
        high_loss: Nats per token from which a plateau is too high.
    """

    def __init__(self, curve: LoggedCurve, high_loss: float) -> None:
        self.curve, self.high_loss = curve, high_loss
        losses = _column(point.loss for point in curve.training)
        self._known = np.isfinite(losses)
        self.losses: Array = losses[self._known]
        self.steps: Array = _column(point.step for point in curve.training)[self._known]
        rates = _column(point.learning_rate for point in curve.training)[self._known]
        self.rates: Array | None = rates if len(rates) and bool(np.isfinite(rates).all() and rates.max() > 0) else None
        self.time: Array = _time(self.steps, self.rates)

    @cached_property
    def noise(self) -> float:
        """Standard deviation of a point's noise that is not shared with its neighbours."""
        return noise(self.losses)

    @cached_property
    def blocks(self) -> Array:
        """Means of up to `BLOCKS` stretches of as many points each, oldest first."""
        return means(self.losses, BLOCKS)

    @cached_property
    def block_noise(self) -> float:
        """Standard deviation of a block mean's noise; what neighbouring points share is in it."""
        white = self.noise / np.sqrt(max(1.0, len(self.losses) / max(1, len(self.blocks))))
        return max(float(white), noise(self.blocks))

    @cached_property
    def start(self) -> float:
        """Loss before anything was learnt, from the first points."""
        return float(self.losses[: self._few].mean()) if len(self.losses) else 0.0

    @cached_property
    def end(self) -> float:
        """Loss at the end, from the last tenth."""
        return float(self.losses[-max(self._few, len(self.losses) // 10) :].mean()) if len(self.losses) else 0.0

    @property
    def end_error(self) -> float:
        """Standard error of `end`."""
        tail = max(self._few, len(self.losses) // 10)
        blocks = max(1.0, tail * len(self.blocks) / len(self.losses))
        return self.block_noise / float(np.sqrt(blocks))

    @property
    def start_error(self) -> float:
        """Standard error of `start`."""
        return self.noise / float(np.sqrt(self._few))

    @property
    def _few(self) -> int:
        """Points at an end that still count as that end: 3 %."""
        return max(1, round(0.03 * len(self.losses)))

    @property
    def finished(self) -> bool:
        """Whether the log goes to the end of its run, as far as that is known."""
        curve = self.curve
        return not curve.total_steps or curve.last_step >= FINISHED_SHARE * curve.total_steps

    @cached_property
    def high(self) -> bool:
        """Whether the end is too high for a pretrained model, in evaluation's nats where training's scale is another.

        Above `MOST_NATS` no mean over tokens can be: it is a sum, and says nothing.
        """
        level = self.end
        for points in self.curve.evaluations.values():
            known = finite(points)
            if known and not 1 / SAME_SCALE < known[-1].loss / max(self.end, 1e-12) < SAME_SCALE:
                level = known[-1].loss
        return self.high_loss <= level <= MOST_NATS

    @cached_property
    def trend(self) -> Array:
        """The falling curve nearest to the losses, `[points]`: what the guide (1.1) calls ideal."""
        n = len(self.losses)
        starts = [0, *self.epoch_ends, n]
        parts = list(itertools.pairwise(starts))
        size = max(1, min(n // TREND_WINDOWS, LARGEST_WINDOW, min(end - start for start, end in parts) // 3))
        edges = [np.arange(start, end - size + 1, size) for start, end in parts]
        windows = np.lib.stride_tricks.sliding_window_view(self.losses, size)[np.concatenate(edges)]
        fitted = np.split(falling(np.median(windows, axis=1)), np.cumsum([len(part) for part in edges])[:-1])
        return np.concatenate(
            [
                np.interp(np.arange(start, end), edge + (size - 1) / 2, level)
                for (start, end), edge, level in zip(parts, edges, fitted, strict=True)
            ]
        )

    @cached_property
    def epoch_ends(self) -> list[int]:
        """Indices of the second and later epochs' first points; none when epochs are too short to be told apart."""
        known = _column(point.epoch for point in self.curve.training)[self._known]
        if (
            not len(known)
            or not np.isfinite(known).all()
            or np.any(np.diff(known) < 0)
            or known[-1] > len(known) / EPOCH_POINTS
        ):
            return []
        ends = np.searchsorted(known, np.arange(1, int(np.ceil(known[-1] - 1e-6))) + 1e-6)
        return [int(end) for end in np.unique(ends) if EPOCH_POINTS <= end <= len(known) - EPOCH_POINTS]

    def near(self, step: int) -> float:
        """Mean loss around a step, over a tenth of the curve; 0 without points."""
        if not len(self.losses):
            return 0.0
        reach = self._reach
        place = int(np.searchsorted(self.steps, step, side="right"))
        around = self.losses[max(0, place - reach) : place + reach]
        return float(around.mean() if len(around) else self.losses[-1])

    @property
    def near_error(self) -> float:
        """Standard error of `near`."""
        return self.noise / float(np.sqrt(2 * self._reach))

    @property
    def _reach(self) -> int:
        """Points on either side that count as near."""
        return max(1, len(self.losses) // 20)

    def step_at(self, block: int) -> int:
        """The step of a block's first point."""
        index = block * len(self.losses) // max(1, len(self.blocks))
        return int(self.steps[min(index, len(self.steps) - 1)])


def _column(values: Iterable[float | None]) -> Array:
    """Values as numbers; NaN where a log does not say."""
    return np.array(list(values), dtype=float)


def _time(steps: Array, rates: Array | None) -> Array:
    if not len(steps):
        return steps
    widths = np.diff(steps, prepend=0.0)
    if rates is not None:
        between = (rates + np.append(rates[0], rates[:-1])) / 2
        widths = widths * np.maximum(between, 0.0)
    passed = np.cumsum(widths)
    return np.asarray(passed / passed[-1] if passed[-1] > 0 else np.linspace(0, 1, len(steps)))


def means(values: Array, count: int) -> Array:
    """Means of `count` stretches of (nearly) as many values each; the values themselves when they are fewer."""
    if len(values) <= count:
        return values
    edges = np.arange(count) * len(values) // count
    sizes = np.diff(np.append(edges, len(values)))
    return np.asarray(np.add.reduceat(values, edges) / sizes)


def falling(values: Array) -> Array:
    """The never-rising sequence nearest to the values in squares, by pooling neighbours that violate it."""
    levels: list[float] = []
    sizes: list[int] = []
    for value in values.tolist():
        level, size = value, 1
        while levels and levels[-1] < level:
            other, others = levels.pop(), sizes.pop()
            level, size = (level * size + other * others) / (size + others), size + others
        levels.append(level)
        sizes.append(size)
    return np.repeat(np.array(levels), sizes)


def late_fall(time: Array, losses: Array, since: float) -> tuple[float, float]:
    """How far losses fall from a time to the end by the straight line through them, and that fall's standard error."""
    late = time >= since
    if late.sum() < 3:
        return 0.0, float("inf")
    x, y = time[late], losses[late]
    blocks = min(len(x), BLOCKS // 2)
    x, y = means(x, blocks), means(y, blocks)
    centred = x - x.mean()
    spread = float((centred**2).sum())
    if spread <= 0:
        return 0.0, float("inf")
    slope = float((centred * y).sum() / spread)
    left = y - y.mean() - slope * centred
    error = float(np.sqrt((left**2).sum() / max(1, len(x) - 2) / spread))
    return -slope * (1 - since), error * (1 - since)


def finite(points: Sequence[EvaluationPoint]) -> list[EvaluationPoint]:
    """Evaluations whose loss is a number."""
    return [point for point in points if np.isfinite(point.loss)]


def thirds(shape: Shape) -> tuple[float, float, float]:
    """The losses' means over the first and the last third, and the standard error of their difference."""
    third = max(1, len(shape.losses) // 3)
    blocks = max(1.0, third * len(shape.blocks) / len(shape.losses))
    error = shape.block_noise * float(np.sqrt(2 / blocks))
    return float(shape.losses[:third].mean()), float(shape.losses[-third:].mean()), error
