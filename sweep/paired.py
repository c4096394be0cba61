"""Effects within blocks: trials that are equal in everything but what is compared."""

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.comparison import Effect, student
from sweep.observations import Observation

# Fewer pairs than this give no verdict: two may agree by chance.
LEAST_PAIRS = 3
RESAMPLES = 10_000
# What a normal distribution's 97.5 % quantile is.
NORMAL = 1.959964


@dataclass(frozen=True)
class Noise:
    """What a repeat of one setting changes: one standard deviation in nats, and its degrees of freedom."""

    deviation: float
    freedom: int


@dataclass(frozen=True)
class _Cell:
    """The trials of one level in one block: their mean, how many they are, and the mean's projection variance."""

    loss: float
    trials: int
    variance: float


def repeat_noise(runs: Sequence[Observation], settings: Sequence[Hashable]) -> Noise | None:
    """The pooled standard deviation of complete trials of one setting; None when nothing was repeated.

    A deviation that the losses' own rounding explains (one unit of their last decimal, over the root of 12) is the
    least, so that repeats that happen to round alike do not count as free of noise.

    Args:
        runs: The trials.
        settings: Each one's setting: all of its knobs.
    """
    groups: dict[Hashable, list[float]] = defaultdict(list)
    for run, setting in zip(runs, settings, strict=True):
        if not run.pruned:
            groups[setting].append(run.loss)
    freedom = sum(len(losses) - 1 for losses in groups.values())
    if not freedom:
        return None
    squares = sum(float(np.sum((np.array(losses) - np.mean(losses)) ** 2)) for losses in groups.values())
    decimals = max(len(repr(run.loss).partition(".")[2]) for run in runs)
    return Noise(max(math.sqrt(squares / freedom), 10.0**-decimals / math.sqrt(12)), freedom)


def blocked_share(levels: Sequence[Hashable], blocks: Sequence[Hashable]) -> float:
    """Which share of the trials stands in a block with another level: near 1 in a grid, near 0 in a search."""
    found: dict[Hashable, set[Hashable]] = defaultdict(set)
    for level, block in zip(levels, blocks, strict=True):
        found[block].add(level)
    return sum(len(found[block]) > 1 for block in blocks) / len(blocks)


def paired_effects(
    runs: Sequence[Observation],
    levels: Sequence[Hashable],
    blocks: Sequence[Hashable],
    reference: Hashable,
    noise: Noise | None,
) -> dict[Hashable, Effect | None]:
    """Each level's mean difference from the reference over the blocks that have both; None without such a block.

    Args:
        runs: The trials.
        levels: Each one's level.
        blocks: Each one's block: its other knobs.
        reference: The level to compare with.
        noise: A repeat's, where something was repeated.
    """
    cells: dict[tuple[Hashable, Hashable], list[Observation]] = defaultdict(list)
    for run, level, block in zip(runs, levels, blocks, strict=True):
        cells[level, block].append(run)
    means = {place: _cell(inside) for place, inside in cells.items()}
    effects: dict[Hashable, Effect | None] = {}
    for level in dict.fromkeys(levels):
        pairs = [
            (means[level, block], means[reference, block])
            for block in dict.fromkeys(blocks)
            if (level, block) in means and (reference, block) in means
        ]
        if level != reference:
            effects[level] = _effect(pairs, noise) if pairs else None
    return effects


def _cell(runs: Sequence[Observation]) -> _Cell:
    losses = [run.loss for run in runs]
    return _Cell(float(np.mean(losses)), len(runs), sum(run.error**2 for run in runs) / len(runs) ** 2)


def _effect(pairs: Sequence[tuple[_Cell, _Cell]], noise: Noise | None) -> Effect:
    """The mean difference with its interval: the bootstrap's, and never narrower than the noise of repeats allows."""
    differences = np.array([mine.loss - its.loss for mine, its in pairs])
    errors = np.sqrt([mine.variance + its.variance for mine, its in pairs])
    mean, count = float(differences.mean()), len(pairs)
    low = high = mean
    if count > 1:
        low, high = _bootstrap(differences, errors)
    if noise is not None:
        trials = sum(1 / mine.trials + 1 / its.trials for mine, its in pairs)
        half = student(noise.freedom) * noise.deviation * math.sqrt(trials) / count
        low, high = min(low, mean - half), max(high, mean + half)
    if count == 1 and noise is None:
        low, high = -math.inf, math.inf
    return Effect(mean, low, high, count, decided=count >= LEAST_PAIRS)


def _bootstrap(differences: NDArray[np.float64], errors: NDArray[np.float64]) -> tuple[float, float]:
    """A 95 % interval of the mean over blocks drawn with replacement, each with its projections' error.

    The bootstrap's distribution of a mean is too narrow by sqrt((n - 1) / n), and has normal tails where few blocks
    ask for Student's; its distances from the mean are stretched by both (Hesterberg 2015, "What Teachers Should Know
    About the Bootstrap").
    """
    rng, count = np.random.default_rng(0), len(differences)
    drawn = rng.integers(count, size=(RESAMPLES, count))
    means = (differences[drawn] + errors[drawn] * rng.standard_normal(drawn.shape)).mean(axis=1)
    stretch = math.sqrt(count / (count - 1)) * student(count - 1) / NORMAL
    mean = differences.mean()
    low, high = mean + stretch * (np.quantile(means, (0.025, 0.975)) - mean)
    return float(low), float(high)


def settings_of(runs: Sequence[Observation]) -> list[Hashable]:
    """Each trial's whole setting, to group repeats by."""
    return [frozen(run.knobs) for run in runs]


def frozen(knobs: Mapping[str, Hashable]) -> Hashable:
    """A setting that can be compared and hashed."""
    return tuple(sorted(knobs.items()))
