"""Which schedules are called into question, and that the shipped spaces' are not."""

from dataclasses import replace
from typing import Any

import pytest

from spaces.load import list_spaces
from spaces.space import SearchSpace
from sweep.checks import faults
from sweep.plan import KNOBS
from sweep.schedule_checks import FEWEST_STEPS, HIGH_RATE, schedule_check, space_checks
from tests.sweep.fakes import BUDGET, SPACE, make_plan, make_space
from trials.config import TrialConfig

ROWS = 320


def config(**changes: Any) -> TrialConfig:
    """20 steps of 16 rows over 320 rows, 2 of them warm-up."""
    return TrialConfig(**{"num_train_epochs": 1.0, **changes})


def found(**changes: Any) -> list[str]:
    return faults([schedule_check(config(**changes), ROWS)])


def test_a_schedule_is_told_with_its_steps() -> None:
    assert schedule_check(config(), ROWS).told == "cosine, 20 optimizer steps of 16 rows, 2 of them warm-up"
    assert schedule_check(config(lr_scheduler_type="constant"), ROWS).told.endswith("0 of them warm-up")
    assert found() == []


@pytest.mark.parametrize("ratio", [0.0, 0.05, 0.2, 0.5])
def test_a_warmup_up_to_half_is_in_order(ratio: float) -> None:
    assert found(warmup_ratio=ratio) == []


def test_a_longer_warmup_is_not() -> None:
    (fault,) = found(warmup_ratio=0.51)
    assert "warm-up takes 11 of 20 optimizer steps (warmup_ratio 0.51)" in fault


@pytest.mark.parametrize("steps", [1, FEWEST_STEPS - 1, FEWEST_STEPS])
def test_a_trial_needs_steps_for_warmup_peak_and_end(steps: int) -> None:
    told = found(max_rows=16 * steps)
    if steps == FEWEST_STEPS:
        assert told == []
    else:
        assert [f"has {steps} optimizer step{'' if steps == 1 else 's'}, too few" in fault for fault in told] == [True]


def test_a_constant_rate_that_is_told_to_warm_up_does_not() -> None:
    (fault,) = found(lr_scheduler_type="constant", warmup_ratio=0.1)
    assert "constant has no warm-up, whatever warmup_ratio says" in fault
    assert found(lr_scheduler_type="constant_with_warmup", warmup_ratio=0.1) == []


def test_a_constant_rate_that_is_high_starts_too_fast() -> None:
    high = {"lr_scheduler_type": "constant", "warmup_ratio": 0.0, "learning_rate": 1.01 * HIGH_RATE}
    (fault,) = found(**high)
    assert "constant starts at 2.02e-3, with no warm-up" in fault
    assert found(**high | {"learning_rate": HIGH_RATE}) == []
    assert found(**high | {"lr_scheduler_type": "cosine"}) == []


def space_faults(text: str, **budget: Any) -> list[str]:
    plan = make_plan(make_space(text), replace(BUDGET, **budget))
    return faults(space_checks(plan))


def test_of_a_space_the_harshest_trial_is_looked_at() -> None:
    batches = SPACE.replace("effective_batch_size: 8, ", "").replace(
        "search:", "search:\n  effective_batch_size: {choice: [8, 32]}"
    )
    assert space_faults(SPACE) == []
    (fault,) = space_faults(batches)  # 80 rows are two batches of 32
    assert "batches of 32 rows has 2 optimizer steps" in fault
    warmups = SPACE.replace(" warmup_ratio: 0.0", "").replace(
        "search:", "search:\n  warmup_ratio: {choice: [0.7, 0.1]}"
    )
    assert ["warmup_ratio 0.7" in fault for fault in space_faults(warmups)] == [True]
    rates = SPACE.replace("warmup_ratio: 0.0", "warmup_ratio: 0.0, lr_scheduler_type: constant")
    assert ["constant starts at 0.01," in fault for fault in space_faults(rates)] == [True]


def test_a_trial_of_the_fewest_passes_is_the_harshest() -> None:
    text = SPACE.replace("search:", "search:\n  num_train_epochs: {int: [1, 4]}").replace("size: 8", "size: 64")
    (fault,) = space_faults(text, max_rows=None)
    assert "has 1 optimizer step, too few" in fault


def test_every_schedule_that_is_searched_is_looked_at() -> None:
    text = SPACE.replace("ratio: 0.0", "ratio: 0.1").replace(
        "search:", "search:\n  lr_scheduler_type: {choice: [cosine, constant]}"
    )
    assert [check.told.split(",")[0] for check in space_checks(make_plan(make_space(text)))] == ["cosine", "constant"]
    assert len(space_faults(text)) == 1


@pytest.mark.parametrize("space", list_spaces(), ids=lambda space: space.name)
def test_the_shipped_spaces_are_in_order_on_the_cpu(space: SearchSpace) -> None:
    """With the device's own budget, so that a sweep's header says nothing of them."""
    from sweep.budget import CPU_BUDGET

    space.check_fields(KNOBS)
    ready = make_plan().ready
    plan = make_plan(space, CPU_BUDGET, replace(ready, data=ready.data | {"train_rows": CPU_BUDGET.max_rows}))
    assert faults(space_checks(plan)) == []
