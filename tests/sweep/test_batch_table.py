"""The guide's batch table against the guide, and which line a device gets."""

import pytest

from sweep.batch_table import GIB, TABLE, table_row

# 3.3 once more, by hand: memory, rows at once, accumulation, effective batch.
GUIDE = {
    8: ((1, 1), (8, 16), (8, 16)),
    16: ((1, 2), (8, 16), (8, 32)),
    24: ((2, 4), (4, 8), (8, 32)),
    40: ((4, 8), (2, 4), (8, 32)),
}


def test_the_table_is_the_guides() -> None:
    assert {row.gigabytes: (row.per_device, row.accumulation, row.effective) for row in TABLE} == GUIDE


def test_the_lines_say_their_memory() -> None:
    assert [row.memory for row in TABLE] == ["8 GB", "16 GB", "24 GB", "40 GB and more"]


@pytest.mark.parametrize(
    ("gib", "gigabytes"),
    [
        (0.5, 8),
        (7.6, 8),
        (11.9, 8),
        (12, 8),
        (14.39, 8),
        (14.4, 16),
        (14.56, 16),  # a T4
        (16, 16),
        (21.5, 16),
        (21.6, 24),
        (23.6, 24),
        (24, 24),
        (32, 24),
        (35.9, 24),
        (36, 40),
        (39.4, 40),  # an A100
        (79.2, 40),
        (192, 40),
    ],
)
def test_a_device_gets_the_last_line_that_it_has_the_memory_for(gib: float, gigabytes: int) -> None:
    assert table_row(gib * GIB).gigabytes == gigabytes
