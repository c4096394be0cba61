"""What the data checks say of good rows, and of each thing that can be wrong with them."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from sweep.checks import faults
from sweep.data_checks import FEW, LEAST_ROWS, MOST_ALIKE, MOST_ENDLESS, data_checks, percent
from tests.sweep.fakes import GOOD_ROWS, GOOD_TOKENS, make_ready


def data(rows: dict[str, Any] | None = None, tokens: dict[str, Any] | None = None, **changes: Any) -> dict[str, object]:
    """A worker's data, good but for the changes."""
    described = {
        "checks": asdict(replace(GOOD_ROWS, **rows or {})),
        "tokens": asdict(replace(GOOD_TOKENS, **tokens or {})),
    }
    return make_ready().data | described | changes


def told(name: str, described: dict[str, object]) -> str:
    (found,) = [check.told for check in data_checks(described) if check.name == name]
    return found


def test_good_rows_are_told_and_nothing_is_wrong() -> None:
    checks = data_checks(data())
    assert [(check.name, check.told) for check in checks] == [
        ("template", "the tokenizer's own; tokenizer and model know <|im_start|>, <|im_end|>"),
        ("ends", "answers end with <|im_end|>, at which the model stops"),
        ("labels", "40 % of tokens are answers', no row without any"),
        ("cut", "25 % of rows at cutoff_len 64, 10 % inside an answer; 96 would hold 95 % of rows whole"),
    ]
    assert faults(checks) == []


def test_texts_have_labels_alone() -> None:
    checks = data_checks(data(checks=None, tokens=None))
    assert [(check.name, check.told) for check in checks] == [("labels", "every token of 80 rows")]
    assert faults(checks) == []


@pytest.mark.parametrize(
    ("described", "words"),
    [
        (
            data(tokens={"unknown": ("<|im_end|>",)}),
            "the chat template writes <|im_end|>, which tokenizer and model do",
        ),
        (data(tokens={"stopping_share": 0.4, "end": "Ġyou"}), "60 % of answers do not end with a token at which"),
        (
            data(rows={"unlabelled": 30}),
            "30 of 126 rows were dropped, as no word of an answer lies within cutoff_len 64",
        ),
        (data(rows={"empty_share": 0.3}), "30 % of rows have an empty answer"),
        (data(rows={"same_share": 1.0}), "100 % of rows have the same answer"),
        (data(rows={"endless_share": 0.7}), "cutoff_len 64 ends 70 % of rows before an answer does"),
    ],
    ids=["unknown token", "no stop", "no labels", "empty", "alike", "endless"],
)
def test_each_fault_is_told_alone(described: dict[str, object], words: str) -> None:
    (fault,) = faults(data_checks(described))
    assert words in fault


@pytest.mark.parametrize("rows", [{"unlabelled": 30}, {"endless_share": 0.7}])
def test_a_cutoff_that_would_do_is_named(rows: dict[str, Any]) -> None:
    (fault,) = faults(data_checks(data(rows=rows)))
    assert fault.endswith("SET=cutoff_len=96 would hold 95 % of rows whole")


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (data(tokens={"stopping_share": 1 - FEW}), data(tokens={"stopping_share": 0.99 - FEW})),
        (data(rows={"unlabelled": 5}), data(rows={"unlabelled": 6})),  # of 96 that were kept
        (data(rows={"empty_share": FEW}), data(rows={"empty_share": FEW + 0.01})),
        (data(rows={"same_share": MOST_ALIKE}), data(rows={"same_share": MOST_ALIKE + 0.01})),
        (data(rows={"endless_share": MOST_ENDLESS}), data(rows={"endless_share": MOST_ENDLESS + 0.01})),
    ],
    ids=["no stop", "no labels", "empty", "alike", "endless"],
)
def test_a_few_bad_rows_are_no_fault(good: dict[str, object], bad: dict[str, object]) -> None:
    assert (len(faults(data_checks(good))), len(faults(data_checks(bad)))) == (0, 1)


def test_of_a_handful_of_rows_all_may_have_the_same_answer() -> None:
    counts = [
        len(faults(data_checks(data(rows={"same_share": 1.0}, train_rows=rows))))
        for rows in (LEAST_ROWS - 1, LEAST_ROWS)
    ]
    assert counts == [0, 1]


def test_what_is_not_there_is_told_so() -> None:
    assert told("template", data(tokens={"markers": ()})) == "the tokenizer's own, which writes no special tokens"
    assert told("ends", data(tokens={"end": "", "stopping_share": 0.0})) == "no answer is whole"
    assert faults(data_checks(data(tokens={"end": "", "stopping_share": 0.0}))) == []
    assert told("cut", data(cut_share=0.0)) == "no row is longer than cutoff_len 64"
    assert told("labels", data(rows={"unlabelled": 2})).endswith("2 rows without any dropped")


def test_a_cutoff_that_holds_the_rows_names_no_other() -> None:
    found = told("cut", data(rows={"fitting_cutoff_len": 60}))
    assert found == "25 % of rows at cutoff_len 64, 10 % inside an answer"


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (0.001, "under 1 %"), (0.254, "25 %"), (0.999, "over 99 %"), (1.0, "100 %")]
)
def test_what_is_not_nothing_is_no_zero(share: float, text: str) -> None:
    assert percent(share) == text
