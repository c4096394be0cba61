"""Grids: every combination once, at every seed, the first named knob fastest; and what is enqueued of them when."""

from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from spaces.load import load_space
from sweep.design import Design, cell_of, chosen, describe, factorial
from sweep.enqueuing import MOST_TRIES, enqueue_missing
from sweep.errors import SweepError
from tests.sweep.fakes import make_space

CONDITIONAL = """
stage: sft
search:
  learning_rate: {float: [1e-4, 1e-2], log: true}
  lora_rank: {choice: [8, 32]}
  alpha_ratio: {choice: [1, 2], when: lora_rank <= 16, else: 1}
  num_train_epochs: {int: [1, 5]}
derived: {lora_alpha: lora_rank * alpha_ratio}
start: [{learning_rate: 2e-4, lora_rank: 8, alpha_ratio: 2, num_train_epochs: 3}]
"""


def rows(design: Design, *names: str) -> list[tuple[Any, ...]]:
    return [tuple(cell.get(name) for name in names) for cell in design.cells]


def test_a_grid_has_every_combination_at_every_seed_the_first_knob_fastest() -> None:
    design = factorial(make_space(), ["ratio", "lora_rank"], levels=4, seeds=[5, 6])
    found = rows(design, "seed", "lora_rank", "alpha_ratio")
    assert found == [(seed, rank, ratio) for seed in (5, 6) for rank in (8, 16, 32) for ratio in (1, 2)]


def test_knobs_that_are_not_named_are_held_at_the_starting_point() -> None:
    design = factorial(make_space(CONDITIONAL), ["lora_rank"], levels=4, seeds=[1])
    assert set(rows(design, "learning_rate", "num_train_epochs")) == {(2e-4, 3)}
    assert design.held == {"learning_rate": 2e-4, "alpha_ratio": 2, "num_train_epochs": 3}
    assert describe(design) == "2 settings × 1 seed; held: learning_rate 0.0002, alpha_ratio 2, num_train_epochs 3"


def test_without_a_starting_point_a_range_is_held_at_its_middle() -> None:
    design = factorial(make_space(), ["lora_rank"], levels=4, seeds=[1])
    assert set(rows(design, "learning_rate", "alpha_ratio")) == {(1e-3, 1)}


def test_a_range_gives_levels_at_equal_ratios_with_its_ends() -> None:
    design = factorial(make_space(), ["learning_rate"], levels=4, seeds=[1])
    assert rows(design, "learning_rate") == [(1e-4,), (4.64e-4,), (2.15e-3,), (1e-2,)]


def test_a_whole_number_range_gives_whole_numbers_each_once() -> None:
    space = make_space(CONDITIONAL)
    assert rows(factorial(space, ["num_train_epochs"], 3, [1]), "num_train_epochs") == [(1,), (3,), (5,)]
    assert len(factorial(space, ["num_train_epochs"], 9, [1]).cells) == 5


def test_a_knob_that_does_not_exist_somewhere_is_no_further_cell() -> None:
    design = factorial(make_space(CONDITIONAL), ["alpha_ratio", "lora_rank"], levels=2, seeds=[1])
    assert rows(design, "lora_rank", "alpha_ratio") == [(8, 1), (8, 2), (32, None)]


def test_settings_that_break_a_constraint_are_left_out() -> None:
    space = make_space(CONDITIONAL + "constraints: {small: lora_alpha <= 16}\n")
    design = factorial(space, ["alpha_ratio", "lora_rank"], levels=2, seeds=[1])
    assert rows(design, "lora_rank", "alpha_ratio") == [(8, 1), (8, 2)]


def test_without_names_all_that_is_searched_makes_the_grid() -> None:
    design = factorial(load_space("lora_targets"), [], levels=4, seeds=[1, 2])
    assert len(design.cells) == 4 * 4 * 2
    assert not design.held


@pytest.mark.parametrize(
    ("over", "levels", "seeds", "complaint"),
    [
        (["lora_alpha"], 4, [1], "--over lora_alpha: it is derived in demo; it searches learning_rate, lora_rank, "),
        (["lora_target"], 4, [1], "it is fixed in demo"),
        (["rank"], 4, [1], "it is unknown in demo"),
        (["ratio", "alpha_ratio"], 4, [1], "--over names a knob twice: alpha_ratio, alpha_ratio"),
        (["lora_rank"], 1, [1], "LEVELS is 1; allowed: a whole number of at least 2"),
        (["lora_rank"], 10**9, [1], "LEVELS is 1000000000; allowed: a whole number of at least 2, and at most 1,000"),
        (["lora_rank"], 4, [], "SEEDS is 0; allowed: a whole number of at least 1"),
        (["lora_rank"], 4, list(range(400)), "has 1,200 trials; allowed: 1,000. Name fewer knobs with --over"),
    ],
)
def test_a_grid_that_cannot_be_is_refused(over: list[str], levels: int, seeds: list[int], complaint: str) -> None:
    with pytest.raises(SweepError) as refused:
        factorial(make_space(), over, levels, seeds)
    assert complaint in str(refused.value)


def test_a_space_that_searches_the_seed_is_refused() -> None:
    space = make_space("stage: sft\nsearch: {seed: {choice: [1, 2]}, lora_rank: {choice: [8, 16]}}\n")
    with pytest.raises(SweepError, match="searches seed, which a design decides"):
        factorial(space, ["lora_rank"], 4, [1])


def test_chosen_settings_run_at_every_seed_in_their_order() -> None:
    space = make_space()
    settings = [
        space.walk(lambda knob: {"learning_rate": 3e-3, "lora_rank": 32, "alpha_ratio": 1}[knob.name]),
        space.walk(lambda knob: {"learning_rate": 1e-3, "lora_rank": 8, "alpha_ratio": 1}[knob.name]),
    ]
    design = chosen(space, settings, [8, 9])
    found = rows(design, "seed", "learning_rate", "lora_rank")
    assert found == [(8, 3e-3, 32), (8, 1e-3, 8), (9, 3e-3, 32), (9, 1e-3, 8)]
    assert all(cell_of(design.space, cell) == cell for cell in design.cells)


def test_cells_in_a_space_that_no_longer_searches_a_knob_are_without_it() -> None:
    design = factorial(make_space(CONDITIONAL), ["num_train_epochs", "lora_rank"], levels=3, seeds=[1])
    assert len(design.cells) == 6
    smaller = design.space.override(["num_train_epochs=1"])
    assert [set(cell) for cell in design.cells_in(smaller)] == [
        {"learning_rate", "lora_rank", "alpha_ratio", "seed"},
        {"learning_rate", "lora_rank", "seed"},
    ]


def run(study: optuna.Study, design: Design, ends: dict[int, TrialState]) -> list[Any]:
    """Runs what waits; trials of these numbers end in these states, the others complete."""
    ran = []
    for _ in range(enqueue_missing(study, design.cells)):
        trial = study.ask()
        design.space.walk(
            lambda knob, trial=trial: trial.suggest_categorical(knob.name, knob.options)  # type: ignore[misc]
        )
        state = ends.get(trial.number, TrialState.COMPLETE)
        study.tell(trial, 1.0 if state == TrialState.COMPLETE else None, state)
        ran.append(trial.params)
    return ran


def test_every_cell_is_run_once_and_none_again(study: optuna.Study) -> None:
    design = factorial(make_space(), ["alpha_ratio", "lora_rank"], levels=4, seeds=[5, 6])
    assert run(study, design, {}) == [dict(cell) for cell in design.cells]
    assert run(study, design, {}) == []


def test_a_failed_cell_is_tried_again_and_then_left(study: optuna.Study) -> None:
    design = factorial(make_space(), ["lora_rank"], levels=4, seeds=[5])
    run(study, design, {1: TrialState.FAIL, 3: TrialState.FAIL})
    assert run(study, design, {3: TrialState.FAIL}) == [dict(design.cells[1])]
    assert MOST_TRIES == 2
    assert run(study, design, {}) == []


def test_a_pruned_cell_counts_and_a_waiting_one_is_not_doubled(study: optuna.Study) -> None:
    design = factorial(make_space(), ["lora_rank"], levels=4, seeds=[5])
    assert enqueue_missing(study, design.cells) == 3
    assert enqueue_missing(study, design.cells) == 3
    run(study, design, {0: TrialState.PRUNED})
    assert len(study.trials) == 3
    assert enqueue_missing(study, design.cells) == 0
