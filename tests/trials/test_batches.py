"""Which rows a run sees when, and their tensors."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from trials.batches import MicroBatch, RowOrder, collate, join, label_count, split, window
from trials.token_rows import TokenRows

PAD = 99


def rows_of(*rows: tuple[list[int], list[bool]]) -> TokenRows:
    ids = np.array([token for row, _ in rows for token in row], np.int32)
    is_label = np.array([label for _, labels in rows for label in labels], np.bool_)
    return TokenRows(ids, is_label, np.cumsum([0, *[len(row) for row, _ in rows]]))


def rows_of_lengths(lengths: list[int]) -> TokenRows:
    return rows_of(*[([i] * length, [True] * length) for i, length in enumerate(lengths)])


# --- tensors


def test_rows_lie_one_after_another() -> None:
    rows = rows_of(([1, 2, 3], [True] * 3), ([4], [True]), ([5, 6], [True] * 2))
    batch = collate(rows, [2, 0])
    assert batch.ids.tolist() == [5, 6, 1, 2, 3]
    assert batch.positions.tolist() == [0, 1, 0, 1, 2]
    assert (batch.lengths, batch.tokens) == ((2, 3), 5)
    assert {batch.ids.dtype, batch.positions.dtype, batch.label_ids.dtype} == {torch.int64}


def test_a_label_is_the_next_token_where_that_counts() -> None:
    rows = rows_of(([1, 2, 3, 4], [False, True, False, True]), ([7, 8], [True, True]))
    batch = collate(rows, [0, 1])
    assert batch.label_places.tolist() == [0, 2, 4]
    assert batch.label_ids.tolist() == [2, 4, 8]
    assert batch.labels == label_count(rows, 0) + label_count(rows, 1) == 3


def test_a_row_of_one_token_has_nothing_to_predict() -> None:
    batch = collate(rows_of(([7], [True])), [0])
    assert (batch.label_ids.tolist(), batch.tokens, batch.labels) == ([], 1, 0)


def test_moving_a_batch_moves_its_tensors_and_keeps_its_counts() -> None:
    batch = collate(rows_of_lengths([3, 2]), [0, 1])
    moved = batch.to(torch.device("meta"))
    tensors = (moved.ids, moved.positions, moved.label_places, moved.label_ids)
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert (moved.tokens, moved.labels) == (batch.tokens, batch.labels) == (5, 3)


def test_side_by_side_rows_are_padded_on_the_right_to_the_longest() -> None:
    rows = rows_of(([1, 2, 3], [False, True, True]), ([5, 6], [True] * 2))
    inputs, places = collate(rows, [1, 0]).padded(PAD)
    assert inputs["input_ids"].tolist() == [[5, 6, PAD], [1, 2, 3]]
    assert inputs["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert places.tolist() == [0, 3, 4]


@given(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=4), min_size=1, max_size=4))
def test_joined_batches_are_the_batch_of_all_their_rows(parts: list[list[int]]) -> None:
    rows = rows_of_lengths([length for part in parts for length in part])
    numbers = iter(range(len(rows)))
    indices = [[next(numbers) for _ in part] for part in parts]
    joined, whole = join([collate(rows, part) for part in indices]), collate(rows, list(range(len(rows))))
    assert as_lists(joined) == as_lists(whole)


def as_lists(batch: MicroBatch) -> list[list[int]]:
    tensors = (batch.ids, batch.positions, batch.label_places, batch.label_ids)
    return [list(batch.lengths), *(tensor.tolist() for tensor in tensors)]


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


def test_a_window_holds_its_steps_rows() -> None:
    order = RowOrder(10, seed=0)
    for step in range(5):  # the second window lies in two epochs
        assert window(order, step, 8) == [order[step * 8 + i] for i in range(8)]


def test_a_window_may_be_larger_than_the_data() -> None:
    assert sorted(window(RowOrder(3, seed=0), 0, 6)) == [0, 0, 1, 1, 2, 2]


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=60), st.integers(1, 9), st.none() | st.integers(1, 5000))
def test_a_split_covers_each_row_once_within_both_limits(
    lengths: list[int], most_rows: int, most_tokens: int | None
) -> None:
    batches = split(rows_of_lengths(lengths), range(len(lengths)), most_rows, most_tokens)
    flat = [i for batch in batches for i in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert [lengths[i] for i in flat] == sorted(lengths, reverse=True)
    for batch, after in zip(batches, [*batches[1:], None], strict=True):
        tokens = sum(lengths[i] for i in batch)
        assert len(batch) <= most_rows
        assert most_tokens is None or tokens <= most_tokens or len(batch) == 1
        # None is fuller than it need be, and none emptier.
        if after:
            over = most_tokens is not None and tokens + lengths[after[0]] > most_tokens
            assert len(batch) == most_rows or over


def test_equal_rows_are_split_evenly() -> None:
    assert [len(batch) for batch in split(rows_of_lengths([256] * 20), range(20), 20, 2048)] == [8, 8, 4]
