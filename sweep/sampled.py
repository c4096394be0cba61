"""Effects in a study that a sampler chose: from a regression of the loss on all knobs.

Trials of one level were tried at other learning rates than those of another, so that their means compare learning
rates. The model takes that out: ordinary least squares on the level, a cubic in the log learning rate whose slope may
differ from level to level (alpha/rank moves the optimum) and with the other numeric knobs, and the other knobs as they
are. An effect is the model's mean difference over the trials whose learning rate both levels were tried at.
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweep.comparison import Effect, student_between
from sweep.observations import Observation, Value

RATE = "learning_rate"
# Trials that a level needs for a verdict, and those for a slope of its own over the learning rate.
LEAST_TRIALS = 3
SLOPE_TRIALS = 5
# Degrees of freedom that must be left for the noise before a term that could be left out is taken in.
SPARE = 10
LEAST_FREEDOM = 4
# A knob of numbers with more levels than this is taken as a line in its logarithm, with fewer as steps.
MOST_STEPS = 4
# A trial that the model fits whatever its loss (leverage above this) says nothing of the noise.
MOST_LEVERAGE = 0.98

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """What the model says.

    Attributes:
        effects: Each level's, None where there is no telling.
        why: Reasons for those.
        residual: Standard deviation of what the model leaves, in nats.
        freedom: Its degrees of freedom.
        terms: How many the model has.
        left_out: Knobs that there were too few trials to hold fixed.
    """

    effects: dict[Hashable, Effect | None]
    why: dict[Hashable, str]
    residual: float
    freedom: int
    terms: int
    left_out: tuple[str, ...]


def model_effects(
    runs: Sequence[Observation],
    levels: Sequence[Hashable],
    held: Sequence[Mapping[str, Value]],
    reference: Hashable,
) -> Fit:
    """Fits the model and reads each level's effect from it.

    Args:
        runs: The trials; pruned ones count by their projected loss like any other: weights by the projection's error
            would hand the answer to the few complete ones, which were chosen for being lucky.
        levels: Each one's level.
        held: Each one's other knobs.
        reference: The level to compare with.
    """
    model = _Model(levels, held, reference)
    effects: dict[Hashable, Effect | None] = {}
    why: dict[Hashable, str] = {}
    losses = np.array([run.loss for run in runs])
    base = model.matrix(levels, held)
    freedom = len(runs) - int(np.linalg.matrix_rank(base))
    if freedom < LEAST_FREEDOM:
        others = [level for level in dict.fromkeys(levels) if level != reference]
        few = f"{len(runs)} trials are too few for a model of {base.shape[1]} terms"
        return Fit(dict.fromkeys(others), dict.fromkeys(others, few), math.nan, freedom, base.shape[1], ())
    estimate = _Estimate(base, losses, freedom)
    counts = Counter(levels)
    for level in counts:
        if level == reference:
            continue
        alike = [index for index, knobs in enumerate(held) if _common(level, reference, knobs, levels, held)]
        effects[level], why[level] = None, ""
        if counts[level] < LEAST_TRIALS or counts[reference] < LEAST_TRIALS:
            why[level] = f"fewer than {LEAST_TRIALS} trials"
        elif len(alike) < LEAST_TRIALS:
            why[level] = "tried at other learning rates only"
        else:
            settings = [held[index] for index in alike]
            mine, its = (model.matrix([which] * len(alike), settings) for which in (level, reference))
            effects[level] = estimate.effect((mine - its).mean(axis=0), len(alike))
            if effects[level] is None:
                why[level] = "always changed together with another knob"
    return Fit(effects, why, math.sqrt(estimate.variance), freedom, base.shape[1], model.left_out)


def _common(
    level: Hashable,
    reference: Hashable,
    knobs: Mapping[str, Value],
    levels: Sequence[Hashable],
    held: Sequence[Mapping[str, Value]],
) -> bool:
    """Whether a setting's learning rate lies where both levels were tried: beyond, the model would extrapolate."""
    if RATE not in knobs:
        return True
    for which in (level, reference):
        rates = [float(other[RATE]) for at, other in zip(levels, held, strict=True) if at == which]
        if not min(rates) <= float(knobs[RATE]) <= max(rates):
            return False
    return True


class _Model:
    """Which terms there are; makes the matrix of any settings. Terms are taken in while there are trials for them."""

    def __init__(self, levels: Sequence[Hashable], held: Sequence[Mapping[str, Value]], reference: Hashable) -> None:
        counts = Counter(levels)
        self._levels = [level for level in counts if level != reference]
        self._sloped = [level for level in self._levels if min(counts[level], counts[reference]) >= SLOPE_TRIALS]
        self._held = held
        knobs = [name for name in held[0] if len({str(row.get(name)) for row in held}) > 1]
        self._rated = RATE in knobs
        others = [name for name in knobs if name != RATE]
        self._steps = {name: _options(name, held) for name in others if not _is_line(name, held)}
        self._lines = [name for name in others if _is_line(name, held)]
        numeric = [name for name in others if _is_numeric(name, held)]
        rates = np.log10([float(row[RATE]) for row in held]) if self._rated else np.zeros(1)
        self._middle, self._scale = float(rates.mean()), float(rates.std()) or 1.0
        wanted = [("knob", name) for name in others]
        if self._rated:
            wanted += [("slopes", ""), ("cubic", ""), *(("moves", name) for name in numeric)]
        self._terms: list[tuple[str, str]] = []
        for term in wanted:
            self._terms.append(term)
            if len(held) - self.matrix(levels, held).shape[1] < SPARE:
                self._terms.pop()
        self.left_out = tuple(name for name in others if ("knob", name) not in self._terms)

    def matrix(self, levels: Sequence[Hashable], held: Sequence[Mapping[str, Value]]) -> Matrix:
        """The terms of some settings, [settings, terms]."""
        columns = [np.ones(len(levels))]
        steps = {level: np.array([float(at == level) for at in levels]) for level in self._levels}
        columns += steps.values()
        rate = np.zeros(len(levels))
        if self._rated:
            rate = (np.log10([float(row[RATE]) for row in held]) - self._middle) / self._scale
            columns += [rate, rate**2]
        for kind, name in self._terms:
            if kind == "cubic":
                columns.append(rate**3)
            elif kind == "slopes":
                columns += [steps[level] * rate for level in self._sloped]
            elif kind == "moves":
                columns.append(self._line(name, held) * rate)
            elif name in self._lines:
                columns.append(self._line(name, held))
            else:
                columns += [np.array([float(row[name] == option) for row in held]) for option in self._steps[name][1:]]
        return np.stack(columns, axis=1)

    def _line(self, name: str, held: Sequence[Mapping[str, Value]]) -> Matrix:
        """A numeric knob, by its logarithm where it is always positive, about its mean in the study."""
        ours = np.array([float(row[name]) for row in self._held])
        values = np.array([float(row[name]) for row in held])
        if np.all(ours > 0):
            ours, values = np.log2(ours), np.log2(values)
        line: Matrix = (values - ours.mean()) / (ours.std() or 1.0)
        return line


class _Estimate:
    """Least squares with intervals that hold when trials differ in their noise, as pruned and complete ones do.

    HC2 variances (MacKinnon and White 1985) and Student's t with Bell and McCaffrey's degrees of freedom (2002;
    Imbens and Kolesár 2016, "Robust Standard Errors in Small Samples"), which are few where an effect hangs on few
    trials.
    """

    def __init__(self, matrix: Matrix, losses: Matrix, freedom: int) -> None:
        self._inverse = np.linalg.pinv(matrix.T @ matrix, hermitian=True)
        self._matrix, self._freedom = matrix, freedom
        hat = matrix @ self._inverse @ matrix.T
        self._weights = self._inverse @ (matrix.T @ losses)
        residuals = losses - matrix @ self._weights
        self.variance = float(residuals @ residuals) / freedom
        self._maker = np.eye(len(losses)) - hat
        leverage = np.diag(hat)
        told = leverage < MOST_LEVERAGE
        self._root = np.where(told, np.sqrt(np.clip(1 - leverage, 1 - MOST_LEVERAGE, 1.0)), 1.0)
        # A trial that is fitted whatever its loss leaves no residual; its variance is taken as the others'.
        self._variances = np.where(told, (residuals / self._root) ** 2, self.variance)

    def effect(self, contrast: Matrix, basis: int) -> Effect | None:
        """The contrast of the model's weights with its interval; None when the trials do not determine it."""
        projected = self._inverse @ (self._matrix.T @ (self._matrix @ contrast))
        if not np.allclose(projected, contrast, atol=1e-6 * max(1.0, float(np.abs(contrast).max()))):
            return None
        shares = self._matrix @ (self._inverse @ contrast)
        variance = float(np.sum(shares**2 * self._variances))
        scaled = shares / self._root
        form = scaled[:, None] * self._maker * scaled[None, :]
        total = float(np.sum(form * form))
        freedom = float(np.trace(form)) ** 2 / total if total > 0 else 1.0
        half = student_between(min(freedom, self._freedom)) * math.sqrt(variance)
        difference = float(contrast @ self._weights)
        return Effect(difference, difference - half, difference + half, basis)


def _options(name: str, held: Sequence[Mapping[str, Value]]) -> list[Value]:
    return sorted({row[name] for row in held}, key=lambda value: (isinstance(value, str), value))


def _is_numeric(name: str, held: Sequence[Mapping[str, Value]]) -> bool:
    return all(isinstance(row[name], int | float) for row in held)


def _is_line(name: str, held: Sequence[Mapping[str, Value]]) -> bool:
    return _is_numeric(name, held) and len({row[name] for row in held}) > MOST_STEPS
