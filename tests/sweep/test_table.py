"""The ranked table: the best first, and no cell breaks a line."""

from typing import Any

import pytest

from sweep.table import ranked, ratio, table
from tests.sweep.fakes import trial_row

MIXED = [
    trial_row(0, 2.5),
    trial_row(1, 2.3, state="pruned", reason="would not win"),
    trial_row(2, 2.4),
    trial_row(3, None, state="failed", reason="out of memory"),
    trial_row(4, None, state="running"),
    trial_row(5, 2.4),
    trial_row(6, 2.2, state="pruned"),
    trial_row(7, 1.0, state="interrupted"),
    trial_row(8, 2.1, state="parked"),
]


def numbers(rows: Any) -> list[int]:
    return [row["trial_number"] for row in rows]


def test_complete_trials_come_by_loss_then_pruned_then_running_then_failed_ones() -> None:
    assert numbers(ranked(MIXED)) == [2, 5, 0, 6, 1, 7, 8, 4, 3]


def test_ranking_does_not_depend_on_the_order_of_the_rows() -> None:
    assert ranked(MIXED[::-1]) == ranked(MIXED)


def test_a_line_tells_a_trials_settings_loss_and_end() -> None:
    heading, line = table([trial_row(3, 2.5714, lora_rank=16, lora_alpha=8.0, learning_rate=7.13e-4)])
    assert heading.split() == ["rank", "trial", "loss", "rank:alpha", "target", "lr", "batch", "state", "reason"]
    assert line.split() == ["1", "3", "2.571", "16:8", "qv", "7.1e-4", "8", "complete"]


def test_only_complete_trials_have_a_rank() -> None:
    lines = table([trial_row(0, 2.5), trial_row(1, 2.3, state="pruned"), trial_row(2, None, state="failed")])
    assert [line.split()[:3] for line in lines[1:]] == [["1", "0", "2.500"], ["-", "1", "2.300"], ["-", "2", "-"]]


def test_columns_stand_below_each_other() -> None:
    rows = [trial_row(0, 2.5, lora_target="q_proj,k_proj,v_proj", reason="why"), trial_row(100, 12.5, reason="why")]
    heading, *lines = table(rows)
    assert {line.index("why") for line in lines} == {heading.index("reason")}


@pytest.mark.parametrize("reason", ["one\ntwo", None])
def test_a_reason_stays_on_its_line(reason: str | None) -> None:
    assert len(table([trial_row(0, None, state="failed", reason=reason)])) == 2


def test_a_long_table_tells_how_many_it_hides() -> None:
    lines = table(MIXED, most=2)
    assert [line.split()[1] for line in lines[1:3]] == ["2", "5"]
    assert lines[3:] == ["… and 7 more: `sweep show` lists them all"]


def test_a_table_that_shows_all_hides_none() -> None:
    assert len(table(MIXED, most=len(MIXED))) == len(table(MIXED)) == len(MIXED) + 1


@pytest.mark.parametrize(("alpha", "text"), [(16, "2:1"), (8, "1:1"), (4, "1:2"), (12, "1.5:1")])
def test_a_ratio_is_told_as_people_say_it(alpha: float, text: str) -> None:
    assert ratio({"lora_alpha": alpha, "lora_rank": 8}) == text
