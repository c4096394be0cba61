"""What a comparison finds, and the two pieces of statistics that its methods share."""

import functools
import math
from dataclasses import dataclass, field

import numpy as np

BETTER, WORSE, ALIKE, UNDECIDED = "better", "worse", "not distinguishable", "no verdict"
REFERENCE = "reference"


@dataclass(frozen=True)
class Effect:
    """How a level's loss differs from the reference's with all else equal, in nats per token; below 0 is better.

    Attributes:
        difference: The mean difference.
        low: Lower end of its 95 % interval.
        high: Upper end.
        basis: What it rests on: pairs, or the trials whose settings it is averaged over.
        decided: Whether that is enough for a verdict.
    """

    difference: float
    low: float
    high: float
    basis: int
    decided: bool = True

    @property
    def verdict(self) -> str:
        """Better or worse where the interval leaves zero out."""
        if not self.decided:
            return UNDECIDED
        if self.high < 0:
            return BETTER
        return WORSE if self.low > 0 else ALIKE


@dataclass(frozen=True)
class Level:
    """One level of what is compared.

    Attributes:
        label: For people.
        complete: Complete trials.
        pruned: Pruned trials that are used, each at its projected loss.
        best: Lowest loss of a complete trial, in nats per token; None without one.
        best_rate: That trial's learning rate; None where the study has none.
        median: Median loss of all its trials.
        effect: Against the reference; None for the reference itself, and where there is no telling.
        verdict: One of the five words.
        why: Why there is no effect; else empty.
    """

    label: str
    complete: int
    pruned: int
    best: float | None
    best_rate: float | None
    median: float
    effect: Effect | None
    verdict: str
    why: str = ""


@dataclass(frozen=True)
class Comparison:
    """The levels of a knob, or of two, against one of them.

    Attributes:
        by: What is compared.
        reference: The reference's label.
        method: "paired" or "model".
        held: Knobs that are held fixed.
        levels: From the lowest level up.
        noise: Standard deviation of a repeat of one setting, in nats; None when nothing was repeated.
        repeats: Degrees of freedom of that noise: trials beyond the first of their setting.
        notes: How it was done and how far it can be trusted, for people.
    """

    by: str
    reference: str
    method: str
    held: tuple[str, ...]
    levels: tuple[Level, ...]
    noise: float | None
    repeats: int
    notes: tuple[str, ...] = field(default=())


@functools.cache
def student(freedom: int, error: float = 0.05) -> float:
    """What Student's t passes, up or down, with this chance; the 97.5 % quantile for 5 %.

    By the integral of its density in the angle atan(t / sqrt(freedom)): numpy has no quantiles, and one function is
    no reason for scipy.
    """
    angles = np.linspace(0, np.pi / 2, 20_001)
    density = np.cos(angles) ** (freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(freedom) * math.tan(float(np.interp(1 - error, mass / mass[-1], angles)))


def student_between(freedom: float) -> float:
    """`student` for degrees of freedom that are no whole number, by the inverse; below one it is that of one."""
    low = max(1, math.floor(freedom))
    share = max(0.0, freedom - low)
    return 1 / ((1 - share) / student(low) + share / student(low + 1))
