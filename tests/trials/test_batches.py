"""Which rows a run sees when, and their tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from trials.batches import (
    EVALUATION_TOKENS,
    IGNORED,
    RowOrder,
    collate,
    evaluation_batches,
    label_count,
    window,
)
from trials.token_rows import TokenRows

PAD = 99


def rows_of(*rows: tuple[list[int], list[bool]]) -> TokenRows:
    ids = np.array([token for row, _ in rows for token in row], np.int32)
    is_label = np.array([label for _, labels in rows for label in labels], np.bool_)
    return TokenRows(ids, is_label, np.cumsum([0, *[len(row) for row, _ in rows]]))


def rows_of_lengths(lengths: list[int]) -> TokenRows:
    return rows_of(*[([i] * length, [True] * length) for i, length in enumerate(lengths)])


# --- tensors


def test_rows_are_padded_on_the_right_to_the_longest() -> None:
    rows = rows_of(([1, 2, 3], [True] * 3), ([4], [True]), ([5, 6], [True] * 2))
    batch = collate(rows, [2, 0], PAD)
    assert batch.ids.tolist() == [[5, 6, PAD], [1, 2, 3]]
    assert batch.mask.tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch.tokens == 5
    assert {batch.ids.dtype, batch.mask.dtype, batch.targets.dtype} == {torch.int64}


def test_a_target_is_the_next_token_where_that_is_a_label() -> None:
    rows = rows_of(([1, 2, 3, 4], [False, True, False, True]))
    batch = collate(rows, [0], PAD)
    assert batch.targets.tolist() == [[2, IGNORED, 4, IGNORED]]
    assert batch.labels == 2


def test_the_first_token_is_never_predicted_and_padding_never_a_target() -> None:
    rows = rows_of(([1, 2], [True, True]), ([3, 4, 5, 6], [True] * 4))
    batch = collate(rows, [0, 1], PAD)
    assert batch.targets.tolist() == [[2, IGNORED, IGNORED, IGNORED], [4, 5, 6, IGNORED]]
    assert batch.labels == label_count(rows, 0) + label_count(rows, 1) == 4


def test_a_row_of_one_token_has_nothing_to_predict() -> None:
    batch = collate(rows_of(([7], [True])), [0], PAD)
    assert (batch.targets.tolist(), batch.tokens, batch.labels) == ([[IGNORED]], 1, 0)


def test_moving_a_batch_moves_its_tensors_and_keeps_its_counts() -> None:
    batch = collate(rows_of_lengths([3, 2]), [0, 1], PAD)
    moved = batch.to(torch.device("meta"))
    assert {moved.ids.device.type, moved.mask.device.type, moved.targets.device.type} == {"meta"}
    assert (moved.tokens, moved.labels) == (batch.tokens, batch.labels) == (5, 3)


# --- order


def epoch_of(order: RowOrder, rows: int, epoch: int) -> list[int]:
    return [order[epoch * rows + i] for i in range(rows)]


def test_each_epoch_has_every_row_once_in_another_order() -> None:
    order = RowOrder(50, seed=3)
    epochs = [epoch_of(order, 50, epoch) for epoch in range(4)]
    assert all(sorted(epoch) == list(range(50)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_the_order_follows_from_the_seed_wherever_one_begins_to_read() -> None:
    first, late = RowOrder(50, seed=3), RowOrder(50, seed=3)
    epochs = [epoch_of(first, 50, epoch) for epoch in range(3)]
    assert epoch_of(late, 50, 2) == epochs[2]
    assert epoch_of(first, 50, 0) == epochs[0]
    assert epoch_of(RowOrder(50, seed=4), 50, 0) != epochs[0]


# --- windows


@pytest.mark.parametrize("micro", [1, 2, 4, 8, 3])
def test_a_window_holds_its_steps_rows_sorted_by_length(micro: int) -> None:
    rows, order = rows_of_lengths([5, 3, 9, 2, 7, 7, 1, 8, 4, 6]), RowOrder(10, seed=0)
    for step in range(5):  # the second window lies in two epochs
        parts = window(rows, order, step, 8, micro)
        flat = [i for part in parts for i in part]
        assert sorted(flat) == sorted(order[step * 8 + i] for i in range(8))
        assert [rows.length(i) for i in flat] == sorted((rows.length(i) for i in flat), reverse=True)
        assert all(len(part) == micro for part in parts[:-1])
        assert 0 < len(parts[-1]) <= micro


def test_a_window_may_be_larger_than_the_data() -> None:
    parts = window(rows_of_lengths([3, 2, 1]), RowOrder(3, seed=0), 0, 6, 6)
    assert sorted(parts[0]) == [0, 0, 1, 1, 2, 2]


# --- evaluation


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=60))
def test_evaluation_covers_each_row_once_within_the_token_limit(lengths: list[int]) -> None:
    batches = evaluation_batches(rows_of_lengths(lengths))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = len(batch) * max(lengths[i] for i in batch)
        assert padded <= EVALUATION_TOKENS or len(batch) == 1


def test_evaluation_fills_its_batches() -> None:
    assert [len(batch) for batch in evaluation_batches(rows_of_lengths([256] * 20))] == [8, 8, 4]
