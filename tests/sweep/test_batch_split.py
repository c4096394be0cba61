"""How many rows pass forward at once, and what is said of it."""

from dataclasses import replace
from typing import Any

import pytest

from spaces.space import SearchSpace
from sweep.batch_split import (
    BatchLimit,
    batch_limit,
    batch_line,
    batch_notes,
    effective_batches,
    fitting_rows,
    micro_batch,
)
from sweep.batch_table import TABLE
from tests.sweep.fakes import GIB, make_ready, make_space
from trials.protocol import DeviceFacts, ModelFacts

GPU = "NVIDIA L4"
TINY = make_ready().model
# Qwen2.5-7B, by its config.json.
SEVEN = ModelFacts("seven", "qwen2", 28, 3584, 152_064, 7_616_000_000, TINY.linear_modules, "bf16", "7")
ONE = replace(SEVEN, parameters=1_000_000_000)
SMALL = replace(SEVEN, parameters=999_999_999)


def limit(
    memory: float, model: ModelFacts = ONE, device: str = GPU, free: float | None = None, **more: Any
) -> BatchLimit:
    """The limit at 128 tokens on a device of `memory` GiB, all but `free` of it taken."""
    facts = DeviceFacts(device, round(memory * GIB), round((memory if free is None else free) * GIB))
    return batch_limit(model, facts, 128, **more)


def batch_space(batch: str) -> SearchSpace:
    return make_space(f"stage: sft\nsearch:\n  effective_batch_size: {batch}\n")


EIGHT_TO_32 = batch_space("{choice: [8, 16, 32]}")


# --- the split


@pytest.mark.parametrize("effective", [1, 7, 12, 16, 30])
@pytest.mark.parametrize("rows", [1, 2, 5, 8, 100])
def test_the_micro_batch_divides_the_effective_one(effective: int, rows: int) -> None:
    micro = micro_batch(effective, rows)
    assert effective % micro == 0
    assert micro <= rows
    assert not [size for size in range(micro + 1, min(rows, effective) + 1) if effective % size == 0]


# --- what memory holds


def test_the_rows_that_fit_grow_with_memory_from_one() -> None:
    found = [fitting_rows(TINY, DeviceFacts(GPU, free, free), 64) for free in (0, 2 * 10**6, 8 * 10**6, 10**9)]
    assert found == sorted(set(found))
    assert found[0] == 1


def test_trials_that_share_a_device_share_its_memory() -> None:
    whole, quarter = (DeviceFacts(GPU, 2**26, 2**26 // part) for part in (1, 4))
    assert fitting_rows(TINY, whole, 64, sharing=4) == fitting_rows(TINY, quarter, 64) < fitting_rows(TINY, whole, 64)


def test_activations_that_are_computed_again_take_less_memory() -> None:
    device = DeviceFacts(GPU, 24 * GIB, 12 * GIB)
    plain, again = (
        fitting_rows(SEVEN, device, 1024),
        fitting_rows(replace(SEVEN, gradient_checkpointing=True), device, 1024),
    )
    assert (plain, again) == (1, 18)


# --- the guide's table


@pytest.mark.parametrize(
    ("memory", "rows", "reason"),
    [
        (7.6, 1, "guide 3.3: 8 GB"),
        (12, 1, "guide 3.3: 8 GB"),
        (14.6, 2, "guide 3.3: 16 GB"),
        (23.6, 4, "guide 3.3: 24 GB"),
        (39.4, 8, "guide 3.3: 40 GB and more"),
        (79.2, 8, "guide 3.3: 40 GB and more"),
    ],
)
def test_a_model_of_the_guides_size_gets_the_guides_rows(memory: float, rows: int, reason: str) -> None:
    found = limit(memory)
    assert (found.rows, found.reason) == (rows, reason)


def test_memory_that_holds_fewer_rows_goes_before_the_guide() -> None:
    found = limit(79.2, SEVEN, free=0.5)
    assert found.rows == found.fitting < 8
    assert found.reason == f"memory is reckoned to hold {found.rows}; guide 3.3: 40 GB and more has up to 8"


def test_a_model_smaller_than_the_guides_is_not_held_back() -> None:
    found = limit(79.2, SMALL)
    assert found.rows == found.fitting > 32
    assert found.row is None
    assert "has 8, for models of billions of parameters" in found.reason


def test_trials_that_share_a_device_get_the_line_of_their_share() -> None:
    found = limit(39.4, sharing=2)
    assert (found.rows, found.reason) == (2, "guide 3.3: 16 GB a trial")


@pytest.mark.parametrize("model", [TINY, ONE])
def test_a_cpu_takes_eight_rows_at_most_whatever_the_guide_says(model: ModelFacts) -> None:
    found = limit(512, model, device="cpu")
    assert (found.rows, found.row, found.reason) == (8, None, "more are no faster on the CPU")


def test_a_cpu_without_memory_takes_fewer() -> None:
    found = limit(512, device="cpu", free=0)
    assert (found.rows, found.reason) == (1, "memory is reckoned to hold 1")


@pytest.mark.parametrize("device", ["cpu", GPU])
def test_what_is_asked_for_goes_before_all(device: str) -> None:
    assert [limit(8, device=device, asked=asked).rows for asked in (1, 6, 32)] == [1, 6, 32]


# --- what is said


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (1, "at most 1 row at once (why), the rest by accumulation"),
        (31, "at most 31 rows at once (why), the rest by accumulation"),
        (32, "up to 32 rows at once, whole batches (why)"),
        (99, "up to 32 rows at once, whole batches (why)"),
    ],
)
def test_the_header_says_how_many_rows_and_why(rows: int, line: str) -> None:
    assert batch_line(BatchLimit(rows, "why", 99), EIGHT_TO_32) == line


@pytest.mark.parametrize(
    ("text", "batches"),
    [
        ("search: {effective_batch_size: {choice: [32, 8]}}", (8, 32)),
        ("search: {effective_batch_size: {int: [2, 4]}}", (2, 3, 4)),
        ("fixed: {effective_batch_size: 12}", (12,)),
        ("fixed: {lora_rank: 8}", (16,)),
        ("search: {n: {choice: [1, 2]}}\nderived: {effective_batch_size: 8 * n}", ()),
        (
            "search:\n  n: {choice: [1, 2]}\n  effective_batch_size: {choice: [8, 16], when: n > 1, else: 4}",
            (4, 8, 16),
        ),
    ],
)
def test_the_batches_that_a_space_tries(text: str, batches: tuple[int, ...]) -> None:
    assert effective_batches(make_space(f"stage: sft\n{text}\n")) == batches


def test_batches_that_are_derived_are_split_without_a_note() -> None:
    space = make_space("stage: sft\nsearch: {n: {choice: [1, 2]}}\nderived: {effective_batch_size: 40 * n}\n")
    found = limit(8, asked=3)
    assert batch_notes(found, space) == []
    assert batch_line(found, space).startswith("at most 3 rows")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (8, None),
        (6, "8 takes 4, 16 takes 4, 32 takes 4"),
        (16, "8 takes 8"),
    ],
)
def test_rows_that_do_not_divide_a_batch_are_said_to_be_fewer(asked: int, told: str | None) -> None:
    wanted = [f"per_device_train_batch_size {asked} does not divide every effective_batch_size: {told}"] if told else []
    assert batch_notes(limit(512, device="cpu", asked=asked), EIGHT_TO_32) == wanted


def test_a_long_range_of_batches_is_told_by_its_first() -> None:
    (note,) = batch_notes(limit(512, device="cpu", asked=2), batch_space("{int: [1, 64]}"))
    assert note.endswith(": 1 takes 1, 3 takes 1, 5 takes 1, 7 takes 1, …")


def test_more_rows_than_memory_is_reckoned_to_hold_are_warned_of() -> None:
    found = limit(24, SEVEN, free=0.5, asked=8)
    (note,) = batch_notes(found, EIGHT_TO_32)
    assert note == f"per_device_train_batch_size is 8, but memory is reckoned to hold {found.fitting}: it may run out"
    assert batch_notes(limit(24, SEVEN, free=0.5, asked=1), EIGHT_TO_32) == []


@pytest.mark.parametrize(
    ("batch", "kept"),
    [
        ("{choice: [8, 16, 32]}", "8,16"),
        ("{int: [8, 64]}", "8..16"),
        ("{choice: [32]}", "16"),
        ("{choice: [8, 16]}", None),
    ],
)
def test_batches_beyond_the_guides_for_the_device_are_told_and_tried(batch: str, kept: str | None) -> None:
    notes = batch_notes(limit(7.6), batch_space(batch))
    assert [note.split("=")[-1] for note in notes] == ([kept] if kept else [])


def test_the_note_on_batches_names_the_guides_end() -> None:
    (note,) = batch_notes(limit(7.6), EIGHT_TO_32)
    assert note.startswith("effective_batch_size goes up to 32, the guide (3.3) to 16 with 8 GB. To keep to it: --set ")


@pytest.mark.parametrize("found", [limit(14.6), limit(7.6, SMALL), limit(7.6, device="cpu")])
def test_where_the_guide_has_them_or_does_not_speak_there_is_no_note(found: BatchLimit) -> None:
    assert batch_notes(found, EIGHT_TO_32) == []


def test_every_line_of_the_table_is_reached() -> None:
    assert [limit(row.gigabytes).row for row in TABLE] == list(TABLE)
