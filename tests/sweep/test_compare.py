"""Levels, references and methods of a comparison, and what it says of itself."""

from typing import Any

import numpy as np
import pytest

from sweep.compare import compare, restrict
from sweep.comparison import Comparison, Level
from sweep.errors import SweepError
from sweep.observations import Observation

RATES, RANKS = (1e-4, 3e-4, 1e-3), (8, 16)


def run(number: int, loss: float, pruned: bool = False, **knobs: Any) -> Observation:
    return Observation(number, knobs, loss, 0.01 if pruned else 0.0, pruned)


def grid(seeds: tuple[int, ...] = (1, 2)) -> list[Observation]:
    """Ratio 2 is 0.05 better than 1 everywhere; all layers as good as q and v."""
    rng = np.random.default_rng(0)
    return [
        run(
            number,
            2 - 0.05 * (ratio == 2) + rate * 10 + float(rng.normal(0, 0.002)),
            learning_rate=rate,
            lora_rank=rank,
            alpha_ratio=ratio,
            lora_target=target,
            seed=seed,
        )
        for number, (rate, rank, ratio, target, seed) in enumerate(
            (rate, rank, ratio, target, seed)
            for rate in RATES
            for rank in RANKS
            for ratio in (1, 2)
            for target in ("qv", "all")
            for seed in seeds
        )
    ]


def search(count: int = 40) -> list[Observation]:
    rng = np.random.default_rng(0)
    return [
        run(
            number,
            2 - 0.05 * (number % 3 == 0) + float(rng.normal(0, 0.005)),
            pruned=number % 4 == 0,
            learning_rate=float(10 ** rng.uniform(-4, -3)),
            lora_rank=int(rng.choice(RANKS)),
            alpha_ratio=2 if number % 3 == 0 else 1,
        )
        for number in range(count)
    ]


def level(found: Comparison, label: str) -> Level:
    return next(level for level in found.levels if level.label == label)


def refused(runs: list[Observation], *arguments: Any) -> str:
    with pytest.raises(SweepError) as caught:
        compare(runs, *arguments)
    return str(caught.value)


def test_a_grid_is_compared_within_blocks() -> None:
    found = compare(grid(), "ratio")
    assert (found.method, found.by, found.reference) == ("paired", "alpha_ratio", "1:1")
    assert found.held == ("learning_rate", "lora_rank", "lora_target", "seed")
    two = level(found, "2:1")
    assert two.verdict == "better"
    assert two.effect is not None
    assert two.effect.basis == 24
    assert two.effect.difference == pytest.approx(-0.05, abs=0.002)
    assert level(found, "1:1").verdict == "reference"


def test_what_makes_no_difference_is_not_told_apart() -> None:
    assert level(compare(grid(), "lora_target", "qv"), "all").verdict == "not distinguishable"


def test_levels_have_their_counts_best_and_median() -> None:
    runs = [
        run(0, 2.0, lora_rank=8, learning_rate=1e-4),
        run(1, 1.5, lora_rank=8, learning_rate=1e-3),
        run(2, 1.0, pruned=True, lora_rank=8, learning_rate=3e-3),
        run(3, 1.8, lora_rank=16, learning_rate=1e-4),
    ]
    eight = level(compare(runs, "lora_rank"), "8")
    assert (eight.complete, eight.pruned, eight.best, eight.best_rate, eight.median) == (2, 1, 1.5, 1e-3, 1.5)


def test_two_knobs_are_compared_as_one() -> None:
    found = compare(grid(), "lora_rank, ratio", "16,1")
    assert found.by == "lora_rank,alpha_ratio"
    assert [level.label for level in found.levels] == ["8, 1:1", "8, 2:1", "16, 1:1", "16, 2:1"]
    assert found.reference == "16, 1:1"
    assert [level.verdict for level in found.levels] == ["not distinguishable", "better", "reference", "better"]
    assert found.held == ("learning_rate", "lora_target", "seed")


@pytest.mark.parametrize("reference", ["2", "2:1", "2.0"])
def test_a_reference_can_be_written_in_ways(reference: str) -> None:
    found = compare(grid(), "ratio", reference)
    assert found.reference == "2:1"
    assert level(found, "1:1").verdict == "worse"


def test_the_most_frequent_level_is_the_reference() -> None:
    one_more = Observation(99, {**grid()[0].knobs, "alpha_ratio": 2, "seed": 9}, 2.0)
    assert compare([*grid(), one_more], "ratio").reference == "2:1"


def test_repeats_tell_the_noise() -> None:
    runs = [run(number, 2 + number / 10, lora_rank=rank, seed=1) for number, rank in enumerate((8, 8, 16, 16))]
    found = compare(runs, "lora_rank")
    assert found.repeats == 2
    assert found.noise == pytest.approx(0.1 / np.sqrt(2))
    assert any("2 repeats" in note for note in found.notes)


def test_ratio_is_alpha_over_rank_where_a_table_has_those() -> None:
    runs = [
        run(number, 2.0 + number / 100, lora_rank=rank, lora_alpha=rank * ratio, learning_rate=rate)
        for number, (rank, ratio, rate) in enumerate((a, b, c) for a in RANKS for b in (1, 2) for c in RATES)
    ]
    found = compare(runs, "ratio")
    assert [level.label for level in found.levels] == ["1:1", "2:1"]
    assert found.held == ("lora_rank", "learning_rate")
    assert found.method == "paired"
    assert compare(grid(), "lora_alpha").held == ("learning_rate", "lora_rank", "lora_target", "seed")


def test_a_search_is_compared_by_a_model_that_says_how_far_to_trust_it() -> None:
    found = compare(search(), "ratio", unused=2)
    assert found.method == "model"
    assert level(found, "2:1").verdict == "better"
    notes = "\n".join(found.notes)
    for words in (
        "cubic in the log learning rate",
        "10 of 40 trials count by the loss that their curve was heading for (± 0.010)",
        "left out: 2 pruned",
        "degrees of freedom",
        "overlap:",
        "no setting was repeated",
    ):
        assert words in notes


def test_a_continuous_knob_is_compared_in_groups() -> None:
    found = compare(search(), "learning_rate", "")
    assert [found.complete + found.pruned for found in found.levels] == [10, 10, 10, 10]
    assert found.levels[0].label.startswith("1.")
    assert ".." in found.levels[0].label
    assert "learning_rate" not in found.held


def test_a_knob_that_a_trial_does_not_have_is_a_level_too() -> None:
    runs = [run(0, 1.0, x="a"), run(1, 2.0), run(2, 1.0, x="a"), run(3, 2.0)]
    assert [level.label for level in compare(runs, "x").levels] == ["a", "none"]


def test_what_cannot_be_compared_is_refused() -> None:
    assert "no finished trial" in refused([], "ratio")
    message = refused(grid(), "rank")
    assert "no knob 'rank'" in message
    assert "lora_rank" in message
    assert "one knob, or two" in refused(grid(), "seed,lora_rank,ratio")
    assert "one knob, or two" in refused(grid(), "seed,seed")
    assert "one level only" in refused(grid((1,)), "seed")
    assert "the levels are 1:1; 2:1" in refused(grid(), "ratio", "3")


def test_trials_can_be_restricted() -> None:
    assert len(restrict(grid(), ["learning_rate=1e-3"])) == 16
    assert len(restrict(grid(), ["ratio=2:1", "lora_target=qv"])) == 12
    with pytest.raises(SweepError, match="learning_rate there: 1e-4, 3e-4, 1e-3"):
        restrict(grid(), ["learning_rate=2e-3"])
    with pytest.raises(SweepError, match="no knob nothing"):
        restrict(grid(), ["nothing=2"])
    with pytest.raises(SweepError, match="KNOB=VALUE"):
        restrict(grid(), ["lora_rank"])
