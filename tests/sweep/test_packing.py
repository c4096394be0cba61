"""How many trials share a GPU."""

import dataclasses

import pytest

from sweep.batch_split import BatchLimit
from sweep.packing import MOST, packing_note, trials_at_once
from tests.sweep.fakes import make_ready, make_space
from trials.protocol import Ready

SPACE = "stage: sft\nsearch: {effective_batch_size: {choice: [8, 16, 32]}}"


def ready(busy: int | None, mean_tokens: float = 100.0) -> Ready:
    made = make_ready()
    return dataclasses.replace(made, data=made.data | {"mean_tokens": mean_tokens}, busy_tokens=busy)


@pytest.mark.parametrize(
    ("busy", "rows", "fitting", "begins", "trials"),
    [
        (12_800, 16, 1000, 99, 8),  # the middle batch of 16 rows of 100 tokens
        (12_800, 8, 1000, 99, 16),  # a batch that is split passes fewer rows at a time
        (12_800, 16, 48, 99, 3),  # memory holds no more
        (12_800, 16, 1000, 12, 4),  # of twelve trials the later ones should know of the earlier ones
        (12_800, 16, 1000, 2, 1),
        (1_000_000, 16, 10**6, 999, MOST),
        (256, 16, 1000, 99, 1),
        (None, 16, 1000, 99, 1),
    ],
)
def test_as_many_share_as_keep_it_busy_fit_and_leave_something_to_learn(
    busy: int | None, rows: int, fitting: int, begins: int, trials: int
) -> None:
    limit = BatchLimit(rows, "", fitting)
    assert trials_at_once(ready(busy), limit, make_space(SPACE), begins) == trials


def test_it_is_told_with_what_was_measured() -> None:
    assert packing_note(1, ready(512)) == ""
    told = packing_note(8, ready(12_800))
    assert told.startswith("8 trials share each pass on a GPU, which is busy from about 12,800 tokens a pass on")
    assert "TRIALS_PER_GPU=1" in told
