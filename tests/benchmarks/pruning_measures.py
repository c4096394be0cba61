"""What a pruner is measured by, over random orders of recorded configurations."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.pruning_methods import Method, Settings
from tests.benchmarks.recorded_curves import Configurations, Curve, kendall, true_value
from tests.benchmarks.replay import replay

# Configurations of a study, as a user's: drawn anew for each order, so that not one curve alone is the best.
TRIALS = 32


@dataclass(frozen=True)
class Order:
    """A study to replay.

    Attributes:
        name: The study's.
        curves: Of its trials, in order, each at one of its configuration's seeds.
        truth: What each trial's configuration is good for: its mean over seeds.
    """

    name: str
    curves: tuple[Curve, ...]
    truth: tuple[float, ...]


@dataclass(frozen=True)
class Measures:
    """A method over many orders; each array has a value an order.

    Attributes:
        spent: Training rows, as a share of those of the unpruned study.
        seconds: Simulated time to the last job's end, as a share of the unpruned study's in as many slots.
        regret: True value of the choice above the best trial's, in nats.
        killed: Whether the trial that an unpruned study would choose did not reach its end.
    """

    spent: np.ndarray
    seconds: np.ndarray
    regret: np.ndarray
    killed: np.ndarray


def orders(configurations: Configurations, count: int, trials: int = TRIALS) -> list[Order]:
    """Random studies of some of the configurations."""
    found = []
    indices = sorted(configurations)
    for number in range(count):
        generator = random.Random(f"order {number}")
        drawn = generator.sample(indices, min(trials, len(indices)))
        curves = tuple(generator.choice(configurations[index]) for index in drawn)
        found.append(Order(f"order {number}", curves, tuple(true_value(configurations[index]) for index in drawn)))
    return found


def measure(method: Method, settings: Settings, studies: Sequence[Order], slots: int) -> Measures:
    """Replays a method on every order."""
    rows = [_of_one(method, settings, order, slots) for order in studies]
    spent, seconds, regret, killed = np.array(rows).T
    return Measures(spent, seconds, regret, killed)


def unpruned_seconds(curves: Sequence[Curve], slots: int) -> float:
    """Time of a study that stops nothing: every trial goes to the slot that is free first."""
    ends = [0.0] * slots
    for curve in curves:
        place = ends.index(min(ends))
        ends[place] += sum(curve.seconds)
    return max(ends)


def interval(values: np.ndarray, draws: int = 1000) -> tuple[float, float]:
    """The mean's 95 % interval by bootstrap over orders."""
    generator = np.random.default_rng(0)
    means = generator.choice(values, (draws, len(values))).mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def rank_agreement(configurations: Configurations) -> list[float]:
    """Kendall's tau of the losses at each report with the final values."""
    curves = [curves[0] for curves in configurations.values()]
    values = [curve.value for curve in curves]
    return [kendall([c.best_until(report) for c in curves], values) for report in range(1, curves[0].horizon + 1)]


def _of_one(method: Method, settings: Settings, order: Order, slots: int) -> tuple[float, float, float, float]:
    curves = order.curves
    done = replay(curves, method.make(curves, settings, order.name), slots)
    best = min(range(len(curves)), key=lambda trial: curves[trial].value)
    return (
        sum(done.reports) / sum(curve.horizon for curve in curves),
        done.seconds / unpruned_seconds(curves, slots),
        order.truth[done.choice] - min(order.truth),
        float(done.reports[best] < curves[best].horizon),
    )
