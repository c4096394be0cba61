"""Which knobs mattered: the one that does, where there are trials enough to say so."""

import numpy as np
import pytest

from sweep.importance import LEAST_TRIALS, importance_words, importances
from sweep.observations import Observation


def runs(count: int, seed: int = 0) -> list[Observation]:
    """Trials of which the learning rate decides most, the target a little, the rest nothing."""
    rng, found = np.random.default_rng(seed), []
    for number in range(count):
        rate = float(10 ** rng.uniform(-4, -2))
        knobs: dict[str, int | float | str] = {
            "learning_rate": rate,
            "lora_rank": int(rng.choice([8, 16, 32])),
            "lora_target": str(rng.choice(["qv", "all"])),
            "warmup_ratio": float(rng.choice([0.1, 0.15, 0.2])),
            "lora_dropout": 0.0,
        }
        loss = 0.2 * (np.log10(rate) + 2.5) ** 2 + 0.03 * (knobs["lora_target"] == "qv") + rng.normal(0, 0.005)
        found.append(Observation(number, knobs, float(loss), pruned=number % 3 == 0))
    return found


def test_the_knob_that_decides_most_is_named_first_in_nearly_all_studies_of_a_hundred_trials() -> None:
    first = [next(iter(importances(runs(100, seed)))) for seed in range(10)]
    assert first.count("learning_rate") >= 9


def test_shares_are_of_one_and_a_knob_that_never_varied_has_none() -> None:
    found = importances(runs(60))
    assert sum(found.values()) == pytest.approx(1.0)
    assert set(found) == {"learning_rate", "lora_rank", "lora_target", "warmup_ratio"}


def test_with_few_trials_or_nothing_varied_nothing_is_said() -> None:
    assert importances(runs(LEAST_TRIALS - 1)) == {}
    assert importances([Observation(number, {"lora_rank": 8}, 2.0) for number in range(LEAST_TRIALS)]) == {}
    assert importance_words({}) == ""


def test_a_knob_that_exists_in_some_trials_only_is_taken_from_those() -> None:
    some = [Observation(run.number, {**run.knobs, "alpha_ratio": 1 + run.number % 2}, run.loss) for run in runs(40)]
    some[0] = runs(1)[0]
    assert "alpha_ratio" in importances(some)


def test_the_most_important_are_told_in_a_line() -> None:
    told = importance_words({"a": 0.5, "b": 0.25, "c": 0.125, "d": 0.0749, "e": 0.05})
    assert told == "a 50 %, b 25 %, c 12 %, d 7 %"
