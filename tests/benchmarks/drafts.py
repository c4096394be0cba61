"""Runs before and after their noise, for curves that are drawn from formulas (`tests.benchmarks.drawn_curves`)."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trials.logged import EvaluationPoint, LoggedCurve, TrainingPoint

Array = NDArray[np.float64]


@dataclass
class Draft:
    """A run before its noise.

    Attributes:
        rng: Draws everything.
        steps: Steps of the logged points.
        total: Steps of the whole run.
        epochs: Passes over the rows by the end.
        rate: Learning rate at each point.
        time: Integral of the rate at each point, 1 at the whole run's end.
        level: Loss that is left when all is learnt.
        fall: Loss that can be learnt.
        loss: Training loss without noise.
        noise: Relative standard deviation of a point's noise.
        evaluations: How many evaluations the run makes.
    """

    rng: np.random.Generator
    steps: Array
    total: int
    epochs: float
    rate: Array
    time: Array
    level: float
    fall: float
    loss: Array
    noise: float
    evaluations: int

    @property
    def share(self) -> Array:
        """The share of the whole run that is over, at each point."""
        return self.steps / self.total


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """A draw whose logarithm is uniform."""
    return float(math.exp(rng.uniform(math.log(low), math.log(high))))


def draft(
    rng: np.random.Generator, points: int = 0, remaining: tuple[float, float] = (0.0, 0.08), schedule: str = ""
) -> Draft:
    """A run that has `remaining` of its fall still to go at its end, as a share."""
    points = points or round(log_uniform(rng, 12, 3000))
    if rng.random() < 0.01:
        points = 100_000
    every = int(rng.choice([1, 5, 10, 50]))
    total = points * every
    steps = np.arange(1, points + 1, dtype=np.float64) * every
    share, warmup = steps / total, float(rng.choice([0.0, 0.03, 0.1]))
    rate = _schedule(rng, share, warmup, schedule)
    time = np.cumsum(rate) / np.sum(rate)
    level = log_uniform(rng, 0.2, 2.4)
    fall = level * log_uniform(rng, 0.12, 1.5)
    shape = _descent(rng, time, rng.uniform(*remaining))
    # Points average over the steps between them.
    noise = log_uniform(rng, 0.002, 0.16)
    evaluations = int(rng.choice([0, 0, 4, 6, 10, 20, 40]))
    epochs = float(rng.choice([1, 2, 3, 5]))
    return Draft(rng, steps, total, epochs, rate, time, level, fall, level + fall * shape, noise, evaluations)


def _schedule(rng: np.random.Generator, share: Array, warmup: float, kind: str) -> Array:
    kind = kind or str(rng.choice(["cosine", "linear", "constant", "steps"]))
    down = {
        "cosine": 0.5 * (1 + np.cos(np.pi * np.minimum(share, 1.0))),
        "linear": 1 - share,
        "constant": np.ones_like(share),
        "steps": 0.9 ** np.floor(share * 10),
    }[kind]
    up = np.minimum(1.0, share / warmup) if warmup else np.ones_like(share)
    return np.asarray(np.maximum(up * down, 1e-6))


def _descent(rng: np.random.Generator, time: Array, remaining: float) -> Array:
    """From 1 down to `remaining` over the time: an exponential, a power law, or two speeds."""
    kind = rng.choice(["exponential", "power", "two"])
    left = max(remaining, 0.004)
    if kind == "exponential":
        return np.exp(time * math.log(left))
    if kind == "power":
        power = rng.uniform(0.7, 2.0)
        return np.asarray((1 + time * (left ** (-1 / power) - 1)) ** -power)
    fast = rng.uniform(0.3, 0.6) * (1 - left)
    return np.asarray(fast * np.exp(-time * rng.uniform(8, 40)) + (1 - fast) * np.exp(time * math.log(left)))


def finish(d: Draft, held_out: Array | None = None, until: float = 1.0, has_rate: bool | None = None) -> LoggedCurve:
    """Adds noise, and evaluations of `held_out` (or of the training loss itself); cuts the log at a share."""
    rng, n = d.rng, len(d.steps)
    noisy = d.loss * np.maximum(0.1, 1 + d.noise * _noise(rng, n))
    scale = float(rng.choice([4.0, 8.0])) if rng.random() < 0.15 and d.evaluations else 1.0  # summed over accumulation
    rate = log_uniform(rng, 1e-6, 1e-3)
    has_rate = rng.random() < 0.85 if has_rate is None else has_rate
    kept = d.share <= until + 1e-9
    training = tuple(
        TrainingPoint(int(s), float(s / d.total * d.epochs), float(y * scale), float(rate * r) if has_rate else None)
        for s, y, r, keep in zip(d.steps, noisy, d.rate, kept, strict=True)
        if keep
    )
    held = d.loss if held_out is None else held_out
    places: list[int] = (
        np.unique(np.linspace(0, n, min(n, d.evaluations) + 1).astype(int)[1:] - 1).tolist() if d.evaluations else []
    )
    gap, wobble = rng.uniform(-0.05, 0.15) * d.level, log_uniform(rng, 3e-4, 3e-3)
    evaluation = tuple(
        EvaluationPoint(int(d.steps[i]), None, float((held[i] + gap) * (1 + wobble * rng.standard_normal())))
        for i in places
        if kept[i]
    )
    return LoggedCurve(training, {"": evaluation} if evaluation else {}, d.total)


def _noise(rng: np.random.Generator, n: int) -> Array:
    """Noise of about unit deviation: normal, skewed or heavy-tailed; in a third of the runs slightly correlated."""
    kind = rng.choice(["normal", "skewed", "heavy"])
    white = {
        "normal": lambda: rng.standard_normal(n),
        "skewed": lambda: (rng.gamma(4.0, 1.0, n) - 4.0) / 2.0,
        "heavy": lambda: rng.standard_t(5, n) / math.sqrt(5 / 3),
    }[str(kind)]()
    if rng.random() < 0.67:
        return np.asarray(white)
    return autoregressive(white, rng.uniform(0.1, 0.3))


def autoregressive(white: Array, memory: float) -> Array:
    """Unit noise that remembers its last value by `memory`."""
    out = np.empty_like(white)
    last = white[0]
    for i, value in enumerate(white):
        last = memory * last + math.sqrt(1 - memory**2) * value
        out[i] = last
    return out
