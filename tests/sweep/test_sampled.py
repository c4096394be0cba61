"""Effects from a model: what confounds is taken out, what cannot be told is not."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from sweep.comparison import Effect
from sweep.observations import Observation, Value
from sweep.sampled import Fit, model_effects


def fit(trials: list[tuple[str, dict[str, Value], float]]) -> Fit:
    runs = [Observation(number, {}, loss) for number, (*_, loss) in enumerate(trials)]
    return model_effects(runs, [level for level, *_ in trials], [held for _, held, _ in trials], "a")


def effect(found: Fit, level: str = "b") -> Effect:
    told = found.effects[level]
    assert told is not None
    return told


def sampled(
    loss: Callable[[str, float, int], float], count: int = 60, noise: float = 0.01, seed: int = 0
) -> list[tuple[str, dict[str, Value], float]]:
    """Level b was tried at lower learning rates, where losses are higher."""
    rng = np.random.default_rng(seed)
    trials: list[tuple[str, dict[str, Value], float]] = []
    for number in range(count):
        level = "ab"[number % 2]
        rate, rank = rng.uniform(-4.2, -3.0) - (level == "b") * 0.5, int(rng.choice([8, 16, 32]))
        held: dict[str, Value] = {"learning_rate": 10.0**rate, "lora_rank": rank}
        trials.append((level, held, loss(level, rate, rank) + float(rng.normal(0, noise))))
    return trials


def test_a_level_that_was_tried_at_worse_rates_is_not_called_worse() -> None:
    trials = sampled(lambda level, rate, rank: 2 + 0.3 * (rate + 3) ** 2 - 0.03 * (level == "b") + rank / 1000)
    means = {which: np.mean([loss for level, _, loss in trials if level == which]) for which in "ab"}
    assert means["b"] - means["a"] > 0.1
    told = effect(fit(trials))
    assert told.verdict == "better"
    assert told.low < -0.03 < told.high


def test_an_optimum_that_moves_is_followed() -> None:
    trials = sampled(lambda level, rate, rank: 2 + 0.2 * (rate + 3.4 + 0.3 * (level == "b")) ** 2)
    rates = [math.log10(float(held["learning_rate"])) for _, held, _ in trials]
    both = [[rate for rate, (level, *_) in zip(rates, trials, strict=True) if level == which] for which in "ab"]
    low, high = max(map(min, both)), min(map(max, both))
    inside = [rate for rate in rates if low <= rate <= high]
    truth = float(np.mean([0.2 * (rate + 3.7) ** 2 - 0.2 * (rate + 3.4) ** 2 for rate in inside]))
    told = effect(fit(trials))
    assert told.basis == len(inside)
    assert told.low < truth < told.high
    assert told.high - told.low < 0.05


def test_nothing_is_found_where_there_is_nothing() -> None:
    verdicts = [
        effect(fit(sampled(lambda level, rate, rank: 2 + 0.1 * rate**2, seed=seed))).verdict for seed in range(40)
    ]
    assert verdicts.count("not distinguishable") >= 35


def test_rates_that_do_not_overlap_cannot_be_compared() -> None:
    trials: list[tuple[str, dict[str, Value], float]] = [
        ("ab"[number % 2], {"learning_rate": (1e-4 if number % 2 else 1e-3) * (1 + number / 100)}, 2.0 + number)
        for number in range(20)
    ]
    found = fit(trials)
    assert found.effects == {"b": None}
    assert found.why["b"] == "tried at other learning rates only"


def test_what_always_changed_with_another_knob_cannot_be_told() -> None:
    rng = np.random.default_rng(0)
    trials: list[tuple[str, dict[str, Value], float]] = [
        (level, {"lora_target": "qv" if level == "a" else "all", "x": float(rng.normal())}, float(rng.normal()))
        for level in "ab" * 15
    ]
    found = fit(trials)
    assert found.effects == {"b": None}
    assert found.why["b"] == "always changed together with another knob"


def test_a_level_needs_three_trials() -> None:
    trials = sampled(lambda level, rate, rank: 2.0)
    trials = [trial for trial in trials if trial[0] == "a"] + [trial for trial in trials if trial[0] == "b"][:2]
    assert fit(trials).why["b"] == "fewer than 3 trials"


def test_too_few_trials_for_any_model_are_said_to_be() -> None:
    found = fit(sampled(lambda level, rate, rank: 2.0, count=6))
    assert found.effects == {"b": None}
    assert "6 trials are too few" in found.why["b"]


def test_knobs_that_there_are_too_few_trials_for_are_named() -> None:
    trials = sampled(lambda level, rate, rank: 2.0, count=14)
    rng = np.random.default_rng(1)
    many: list[tuple[str, dict[str, Value], float]] = [
        (level, {**held, "lora_target": str(rng.choice(["q", "k", "v", "o"]))}, loss) for level, held, loss in trials
    ]
    assert fit(many).left_out == ("lora_rank", "lora_target")


def test_no_learning_rate_is_no_hindrance() -> None:
    rng = np.random.default_rng(0)
    trials: list[tuple[str, dict[str, Value], float]] = [
        ("ab"[number % 2], {"x": float(rng.normal())}, 2 - 0.1 * (number % 2) + float(rng.normal(0, 0.01)))
        for number in range(30)
    ]
    told = effect(fit(trials))
    assert told.basis == 30
    assert told.difference == pytest.approx(-0.1, abs=0.01)
