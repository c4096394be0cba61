"""Curves drawn from formulas with noise, of which it is known what they are, and how often `diagnose` says it.

`python -m tests.benchmarks.drawn_curves [--curves 1000 --seed 2027]` prints a confusion matrix; it asserts nothing.

A run's loss falls in the time that its learning rate adds up to; on it lie noise (of several kinds, white or slightly
correlated), stairs at epochs, and the class's own trouble, each over wide ranges. A trouble that its own noise hides
is drawn again: what nobody can see is no error. That is decided by what was drawn, never by what `diagnose` measures.
"""

import argparse
import math
from collections import Counter
from collections.abc import Callable

import numpy as np

from tests.benchmarks.drafts import Draft, autoregressive, draft, finish, log_uniform
from trials.diagnosis import diagnose
from trials.logged import LoggedCurve

CLASSES = ("healthy", "oscillation", "under-fitting", "over-fitting", "stagnation", "divergence", "too short to tell")


def healthy(rng: np.random.Generator) -> LoggedCurve:
    """Falls and flattens; small stairs at epochs; sometimes its log ends early, or its gradients are odd."""
    while True:
        d = draft(rng)
        if 1 - d.loss[-1] / d.loss[0] > 6 * d.noise / math.sqrt(max(1.0, len(d.steps) / 4)):
            break
    if rng.random() < 0.3:
        d.loss *= 1 - rng.uniform(0.0, 0.05) * np.floor(d.share * d.epochs * 0.999) / max(1.0, d.epochs - 1)
    held = d.level + (d.loss - d.level) * rng.uniform(0.7, 1.1)
    return finish(d, held, until=rng.uniform(0.5, 1.0) if rng.random() < 0.15 else 1.0)


def oscillation(rng: np.random.Generator) -> LoggedCurve:
    """Falls, but swings or spikes while the rate is high, by more than its noise."""
    d = draft(rng, points=round(log_uniform(rng, 50, 3000)))
    n = len(d.steps)
    size = rng.uniform(0.15, 0.6)
    d.noise = min(d.noise, size / 4)
    kind = rng.choice(["swings", "wave", "spikes"])
    strength = np.sqrt(d.rate / d.rate.max())
    if kind == "swings":
        swing = autoregressive(rng.standard_normal(n), math.exp(-rng.uniform(max(0.05, 20 / n), 0.5)))
    elif kind == "wave":
        period = rng.uniform(4, max(5.0, n / 6))
        phase = np.cumsum(2 * np.pi / period * np.exp(0.2 * rng.standard_normal(n)))
        swing = 1.4 * np.sin(phase)
    else:
        swing = np.zeros(n)
        recovery = rng.uniform(1.5, max(2.0, n / 25))
        for start in rng.choice(n, size=int(rng.integers(5, 12)), replace=False):
            tail = np.arange(n - start)
            swing[start:] += rng.uniform(2.0, 6.0) * np.exp(-tail / recovery)
    d.loss = np.asarray(d.loss * np.exp(size * strength * swing))
    return finish(d)


def under_fitting(rng: np.random.Generator) -> LoggedCurve:
    """Too small a rate, which learns little; or too short a run at a steady rate, with most still to be learnt."""
    while True:
        slow = rng.random() < 0.5
        d = draft(rng, schedule="" if slow else "constant")
        left = rng.uniform(0.45, 0.9)
        if slow:
            d.fall = d.level * rng.uniform(0.012, 0.045) / (1 - left)
        d.loss = d.level + d.fall * np.exp(d.time * math.log(left))
        gone = (d.loss[0] - d.loss[-1]) / d.loss[-1]
        # Seen: not only that it falls, but that it does not bend, stands out of the noise that is left in means.
        if 0.25 * gone > 10 * d.noise / math.sqrt(len(d.steps) / 4):
            return finish(d, has_rate=True)  # without its rates, a schedule's end looks like a plateau


def over_fitting(rng: np.random.Generator) -> LoggedCurve:
    """Held-out loss turns while training loss falls on; or, without evaluations, each epoch is known by heart."""
    d = draft(rng)
    d.epochs = float(rng.choice([3, 5, 10]))
    if rng.random() < 0.25:
        d.evaluations = 0
        d.noise = min(d.noise, 0.08)
        drop = rng.uniform(0.3, 0.6)
        d = _with_points(d, rng)
        d.loss = np.asarray(d.loss * (1 - drop) ** np.floor(d.share * d.epochs * 0.9999))
        return finish(d)
    d.evaluations = int(rng.choice([5, 8, 12, 20, 40]))
    d.noise = min(d.noise, 0.1)
    turn = rng.uniform(0.0, 0.6)
    rise = d.level * log_uniform(rng, 0.04, 0.6)
    later = np.maximum(0.0, (d.share - turn) / (1 - turn))
    held = d.loss + rise * later ** rng.uniform(0.8, 1.5)
    if len(d.steps) < 30:
        d = _with_points(d, rng)
        later = np.maximum(0.0, (d.share - turn) / (1 - turn))
        held = d.level + (d.loss - d.level) * 0.3 + rise * later
    if held[-1] < 1.03 * held.min():
        return over_fitting(rng)  # what was still to be learnt outweighs the rise
    d.loss = np.asarray(d.loss * (1 - rng.uniform(0.25, 0.8) * later))
    return finish(d, held)


def _with_points(d: Draft, rng: np.random.Generator) -> Draft:
    """The same, but long enough that each epoch has several points."""
    fresh = draft(rng, points=round(log_uniform(rng, 60, 3000)))
    fresh.epochs, fresh.noise, fresh.evaluations = d.epochs, d.noise, d.evaluations
    return fresh


def stagnation(rng: np.random.Generator) -> LoggedCurve:
    """Flat from the start, anywhere; or a quick fall from far above to a plateau as high as knowing nothing."""
    d = draft(rng)
    d.noise = min(d.noise, 0.05 * math.sqrt(len(d.steps) / 20))
    if rng.random() < 0.6:
        places = [math.log(2), math.log(32_000), math.log(151_936), rng.uniform(0.8, 6.0)]
        d.loss = np.full_like(d.steps, float(rng.choice(places)))
        return finish(d)
    plateau = rng.uniform(3.5, 8.0)
    d.noise = min(d.noise, 0.04)
    d.loss = plateau * (1 + rng.uniform(0.1, 1.2) * np.exp(-d.time * rng.uniform(20, 80)))
    return finish(d)


def divergence(rng: np.random.Generator) -> LoggedCurve:
    """Lost for good: NaN, zeros for ever, a blow-up, or a jump to a level that it does not leave."""
    d = draft(rng)
    at = rng.uniform(0.05, 0.8)
    d.noise = min(d.noise, 0.1)
    kind = rng.choice(["nan", "zeros", "blow-up", "jump"])
    lost = d.share >= at
    if kind in ("nan", "zeros"):
        lost[-3:] = True
        curve = finish(d)
        value = math.nan if kind == "nan" else 0.0
        training = tuple(
            point._replace(loss=value) if gone else point for point, gone in zip(curve.training, lost, strict=True)
        )
        return LoggedCurve(training, {}, curve.total_steps)
    since = np.maximum(0.0, d.share - at) / (1 - at)
    if kind == "blow-up":
        d.loss = np.asarray(d.loss * np.exp(since * rng.uniform(1.2, 6.0)))
    else:
        high = (d.level + d.fall) * rng.uniform(1.15, 5.0)
        d.loss = np.where(lost, high - 0.1 * d.fall * since, d.loss)
    return finish(d)


def too_short(rng: np.random.Generator) -> LoggedCurve:
    """A few points, or a log that ends in warm-up."""
    if rng.random() < 0.5:
        d = draft(rng, points=int(rng.integers(1, 5)))
        d.evaluations = int(rng.integers(0, 3))
        return finish(d)
    d = draft(rng, points=round(log_uniform(rng, 100, 3000)))
    warmup = rng.uniform(0.05, 0.2)
    d.rate = np.minimum(1.0, d.share / warmup)
    curve = finish(d, until=warmup * rng.uniform(0.2, 0.95))
    training = tuple(
        point._replace(learning_rate=1e-4 * float(rate)) for point, rate in zip(curve.training, d.rate, strict=False)
    )
    return LoggedCurve(training, curve.evaluations, curve.total_steps)


DRAW: dict[str, Callable[[np.random.Generator], LoggedCurve]] = {
    "healthy": healthy,
    "oscillation": oscillation,
    "under-fitting": under_fitting,
    "over-fitting": over_fitting,
    "stagnation": stagnation,
    "divergence": divergence,
    "too short to tell": too_short,
}


def drawn(kind: str, number: int, seed: int) -> LoggedCurve:
    """One curve of a class; the same arguments give the same curve."""
    return DRAW[kind](np.random.default_rng([seed, CLASSES.index(kind), number]))


def confusion(curves: int, seed: int) -> dict[str, Counter[str]]:
    """For each class, how often which findings were said together."""
    return {
        kind: Counter(" + ".join(diagnose(drawn(kind, number, seed)).kinds) for number in range(curves))
        for kind in CLASSES
    }


def print_matrix(curves: int, seed: int) -> None:
    """Prints what was said of each class; right is the class alone."""
    found = confusion(curves, seed)
    for kind, said in found.items():
        print(f"{kind:<18} {said[kind] / curves:7.1%}   " + ", ".join(f"{k} {n}" for k, n in said.most_common(9)))
    right = sum(said[kind] for kind, said in found.items())
    print(f"{'all':<18} {right / (curves * len(CLASSES)):7.1%}")


def main() -> None:
    """Prints the matrix."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curves", type=int, default=1000, help="of each class")
    parser.add_argument("--seed", type=int, default=2027)
    asked = parser.parse_args()
    print_matrix(asked.curves, asked.seed)


if __name__ == "__main__":
    main()
