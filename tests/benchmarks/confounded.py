"""Synthetic studies with a known truth, whose trials a sampler chose and a pruner cut short.

No training: a trial's loss is a formula, its curve an exponential. What confounds is real: the learning rates that a
level was tried at depend on what earlier trials gave.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna

from sweep.observations import Ended, Observation, observe
from sweep.projection import even_progress, project
from sweep.pruners import TrendPruner
from sweep.samplers import SeededTPE

HORIZON = 10
PROGRESS = even_progress(HORIZON)
RATES = (1e-5, 3e-3)
RATIOS, RANKS, TARGETS = (1, 2, 4), (8, 16, 32), ("all", "attention", "mlp", "qv")
Loss = Callable[[Mapping[str, Any]], float]


@dataclass(frozen=True)
class Synthetic:
    """A study, and the loss that each setting has on average, in nats per token."""

    trials: list[Ended]
    truth: Loss

    @property
    def runs(self) -> list[Observation]:
        """The trials as a comparison takes them."""
        return observe(self.trials)


def quadratic(rng: np.random.Generator) -> Loss:
    """A quadratic in the log learning rate; its optimum moves with alpha/rank and a little with the rank."""
    best, moves, width = rng.uniform(-4.2, -3.2), rng.uniform(0.5, 1.0), rng.uniform(0.05, 0.25)
    rank_moves = rng.uniform(-0.2, 0.0)
    targets = dict(zip(TARGETS, rng.normal(0, 0.02, len(TARGETS)), strict=True))
    rank, ratio = rng.normal(0, 0.005), rng.normal(0, 0.02)

    def loss(knobs: Mapping[str, Any]) -> float:
        log_ratio, log_rank = math.log10(knobs["alpha_ratio"]), math.log2(knobs["lora_rank"] / 8)
        optimum = best - moves * log_ratio + rank_moves * log_rank
        bend = width * (math.log10(knobs["learning_rate"]) - optimum) ** 2
        return float(2.0 + bend + targets[knobs["lora_target"]] + rank * log_rank + ratio * log_ratio)

    return loss


def lopsided(rng: np.random.Generator) -> Loss:
    """Slow to learn left of the optimum, steeply worse right of it: no polynomial in the log learning rate."""
    best, moves = rng.uniform(-4.2, -3.4), rng.uniform(0.3, 1.0)
    left, right = rng.uniform(0.05, 0.12), rng.uniform(0.005, 0.03)
    steep = rng.uniform(1.5, 2.5)
    targets = dict(zip(TARGETS, rng.normal(0, 0.03, len(TARGETS)), strict=True))
    ranks = dict(zip(RANKS, rng.normal(0, 0.01, len(RANKS)), strict=True))

    def loss(knobs: Mapping[str, Any]) -> float:
        at = math.log10(knobs["learning_rate"]) - best + moves * math.log10(knobs["alpha_ratio"])
        bend = left * math.log1p(math.exp(-2.5 * at)) + right * math.exp(steep * at)
        return float(2.0 + bend + targets[knobs["lora_target"]] + ranks[knobs["lora_rank"]])

    return loss


def tpe_study(rng: np.random.Generator, shape: Callable[[np.random.Generator], Loss], trials: int) -> Synthetic:
    """A study that this program's own sampler and pruner made."""
    truth, noise, speed = shape(rng), rng.uniform(0.003, 0.02), rng.uniform(0.5, 0.8)
    study = optuna.create_study(
        sampler=SeededTPE(int(rng.integers(2**31)), trials), pruner=TrendPruner(HORIZON, warmup_reports=1)
    )
    ended = []
    for number in range(trials):
        trial = study.ask()
        knobs: dict[str, Any] = {
            "learning_rate": trial.suggest_float("learning_rate", *RATES, log=True),
            "alpha_ratio": trial.suggest_categorical("alpha_ratio", RATIOS),
            "lora_rank": trial.suggest_categorical("lora_rank", RANKS),
            "lora_target": trial.suggest_categorical("lora_target", TARGETS),
        }
        values: list[float] = []
        pruned = False
        for value in _curve(rng, truth(knobs) + rng.normal(0, noise), speed):
            values.append(value)
            trial.report(value, len(values))
            if trial.should_prune():
                pruned = True
                break
        if pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, min(values))
        ended.append(Ended(number, knobs, values, min(values), PROGRESS, pruned))
    return Synthetic(ended, truth)


def greedy_study(rng: np.random.Generator, shape: Callable[[np.random.Generator], Loss], trials: int) -> Synthetic:
    """A cruder search: after a third at random, a neighbour of one of the best five; the worst half is cut short."""
    truth, noise, speed = shape(rng), rng.uniform(0.003, 0.02), rng.uniform(0.5, 0.8)
    ended: list[Ended] = []
    for number in range(trials):
        knobs: dict[str, Any] = {
            "learning_rate": 10 ** rng.uniform(*np.log10(RATES)),
            "alpha_ratio": int(rng.choice(RATIOS)),
            "lora_rank": int(rng.choice(RANKS)),
            "lora_target": str(rng.choice(TARGETS)),
        }
        if number > trials // 3:
            near = sorted(ended, key=lambda trial: trial.value)[int(rng.integers(5))].knobs
            rate = math.log10(float(near["learning_rate"])) + rng.normal(0, 0.3)
            kept = {name: value for name, value in near.items() if rng.random() < 0.7}
            knobs |= {**kept, "learning_rate": 10 ** float(np.clip(rate, *np.log10(RATES)))}
        values = list(_curve(rng, truth(knobs) + rng.normal(0, noise), speed))
        seen = int(rng.integers(3, 7))
        rivals = [trial.value for trial in ended]
        pruned = number > 5 and project(values[:seen], PROGRESS).loss > float(np.median(rivals))
        values = values[:seen] if pruned else values
        ended.append(Ended(number, knobs, values, min(values), PROGRESS, pruned))
    return Synthetic(ended, truth)


def _curve(rng: np.random.Generator, final: float, speed: float) -> list[float]:
    """Evaluation losses that fall to `final`, each with a little noise of its own."""
    speed = float(np.clip(speed + rng.normal(0, 0.05), 0.3, 0.9))
    height = rng.uniform(0.4, 0.8)
    return [final + height * (speed**step - speed**HORIZON) + rng.normal(0, 0.001) for step in range(1, HORIZON + 1)]
