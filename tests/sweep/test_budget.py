"""How long a trial is, and how its batch is split."""

import math
from typing import Any

import pytest

from sweep.budget import CPU_BUDGET, GPU_BUDGET, Budget, describe_memory, make_budget
from sweep.errors import SweepError
from tests.sweep.fakes import GIB
from trials.protocol import DeviceFacts

STORED = Budget(max_rows=320, max_samples=300, val_size=40, evaluations=7, cutoff_len=256)


def budget(**asked: Any) -> Budget:
    plain: dict[str, Any] = {
        "on_gpu": False,
        "stored": None,
        "max_steps": None,
        "max_samples": None,
        "val_size": None,
        "cutoff_len": 1024,
        "cutoff_asked": False,
        "batch": 16,
    }
    return make_budget(**(plain | asked))


@pytest.mark.parametrize(("on_gpu", "default"), [(False, CPU_BUDGET), (True, GPU_BUDGET)])
def test_nothing_asked_gives_what_suits_the_device(on_gpu: bool, default: Budget) -> None:
    assert budget(on_gpu=on_gpu, cutoff_len=default.cutoff_len) == default


@pytest.mark.parametrize("on_gpu", [False, True])
def test_a_stored_budget_goes_before_the_devices(on_gpu: bool) -> None:
    assert budget(on_gpu=on_gpu, stored=STORED.to_dict()) == STORED


def test_what_is_asked_for_goes_before_what_is_stored() -> None:
    asked = budget(
        stored=STORED.to_dict(), max_steps=3, max_samples=99, val_size=0.2, cutoff_len=512, cutoff_asked=True
    )
    assert asked == Budget(max_rows=48, max_samples=99, val_size=0.2, evaluations=7, cutoff_len=512)


def test_the_same_options_again_give_the_stored_budget() -> None:
    first = budget(max_steps=20, val_size=50)
    assert budget(max_steps=20, val_size=50, stored=first.to_dict(), on_gpu=True) == first


@pytest.mark.parametrize(("batch", "rows"), [(16, 160), (4, 40)])
def test_max_steps_are_counted_in_rows_of_the_reference_batch(batch: int, rows: int) -> None:
    assert budget(max_steps=10, batch=batch).max_rows == rows


def test_max_samples_leave_the_epochs_to_say_how_often_each_row_is_seen() -> None:
    asked = budget(max_samples=500)
    assert (asked.max_rows, asked.max_samples) == (None, 500)


def test_no_more_rows_are_read_than_a_trial_can_see() -> None:
    assert budget(on_gpu=True, max_steps=2).max_samples == 32


def test_a_cpu_cuts_rows_shorter_than_the_space_says() -> None:
    assert budget(cutoff_len=1024).cutoff_len == CPU_BUDGET.cutoff_len


def test_a_space_that_cuts_shorter_still_is_obeyed() -> None:
    assert budget(cutoff_len=32).cutoff_len == 32


def test_a_cut_that_the_user_asked_for_is_kept_on_the_cpu() -> None:
    assert budget(cutoff_len=2048, cutoff_asked=True).cutoff_len == 2048


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("max_steps", 0, "MAX_STEPS is 0; allowed: a whole number of at least 1"),
        ("max_samples", -3, "MAX_SAMPLES is -3; allowed: a whole number of at least 1"),
        ("val_size", 0, "VAL_SIZE is 0; allowed: a share between 0 and 1, or a whole number of rows"),
        ("val_size", 2.5, "VAL_SIZE is 2.5;"),
        ("val_size", math.nan, "VAL_SIZE is nan;"),
        ("val_size", math.inf, "VAL_SIZE is inf;"),
    ],
)
def test_numbers_that_cannot_be_are_refused(name: str, value: float, message: str) -> None:
    with pytest.raises(SweepError, match=message):
        budget(**{name: value})


def test_memory_is_told_in_gigabytes() -> None:
    assert describe_memory(DeviceFacts("NVIDIA L4", 23 * GIB, 20 * GIB)) == "NVIDIA L4, 23 GB"
