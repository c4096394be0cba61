"""What a data set's columns and role words are, and whether others read it as we do."""

from pathlib import Path
from typing import Any

import pytest

from tests.sweep.winners import write_rows
from trials.forms import Chat, Message
from trials.layout import alternates, read_layout

HI, HELLO = {"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}
ASK, ANSWER = {"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}
SYSTEM = {"from": "system", "value": "be brief"}


@pytest.mark.parametrize(
    ("rows", "form", "columns"),
    [
        ([{"instruction": "a", "output": "b"}], "alpaca", ("instruction", "output")),
        (
            [{"instruction": "a", "output": "b", "input": "c"}, {"instruction": "a", "output": "b", "system": "d"}],
            "alpaca",
            ("instruction", "input", "output", "system"),
        ),
        ([{"conversations": [ASK, ANSWER], "id": 1}], "sharegpt", ("conversations",)),
        ([{"conversations": [ASK, ANSWER], "system": "x"}], "sharegpt", ("conversations", "system")),
        ([{"messages": [HI, HELLO], "system": "not read"}], "messages", ("messages",)),
    ],
)
def test_the_columns_are_those_that_the_reader_used(
    tmp_path: Path, rows: list[dict[str, Any]], form: str, columns: tuple[str, ...]
) -> None:
    file = write_rows(tmp_path / "a.jsonl", rows)
    layout = read_layout(str(file), "sft")
    assert (layout.form, layout.columns, layout.files, layout.alike) == (form, columns, (file,), True)


@pytest.mark.parametrize(("row", "column"), [({"text": "a", "content": "b"}, "text"), ({"content": "b"}, "content")])
def test_the_column_of_texts(tmp_path: Path, row: dict[str, str], column: str) -> None:
    layout = read_layout(str(write_rows(tmp_path / "a.jsonl", [row])), "pt")
    assert (layout.columns, layout.alike) == ((column,), True)


@pytest.mark.parametrize(("user", "assistant"), [("human", "gpt"), ("user", "assistant"), ("Human", "GPT")])
def test_roles_are_told_in_the_datas_own_words(tmp_path: Path, user: str, assistant: str) -> None:
    turns = [{"from": user, "value": "hi"}, {"from": assistant, "value": "hello"}]
    layout = read_layout(str(write_rows(tmp_path / "a.jsonl", [{"conversations": turns}])), "sft")
    assert layout.roles == {"user": user, "assistant": assistant, "system": "system"}
    assert layout.alike


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [ASK, ASK, ANSWER]},
        {"conversations": [ASK, ANSWER, ASK]},
        {"conversations": [ASK, {"from": "gpt", "value": " "}]},
        {"conversations": [ASK, {"from": "assistant", "value": "hello"}]},
        {"conversations": [SYSTEM, ASK, ANSWER], "system": "and be kind"},
        {"conversations": [ASK, ANSWER, SYSTEM, ASK, ANSWER]},
        {"conversations": None},
        {"conversations": [ASK, ANSWER], "system": "  "},
    ],
    ids=["joined", "no answer", "blank", "two words", "two systems", "late system", "none", "blank system"],
)
def test_a_row_that_is_mended_is_not_read_alike(tmp_path: Path, row: dict[str, Any]) -> None:
    file = write_rows(tmp_path / "a.jsonl", [{"conversations": [ASK, ANSWER], "system": ""}, row])
    assert not read_layout(str(file), "sft").alike


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ({"input": ""}, True),
        ({"history": [["a", "b"]], "system": "x"}, True),
        ({"input": None, "history": None, "system": None}, True),
        ({"input": " "}, False),
        ({"history": [["a", ""]]}, False),
        ({"output": ""}, False),
    ],
)
def test_alpaca_rows_are_alike_when_nothing_in_them_is_blank(
    tmp_path: Path, change: dict[str, Any], alike: bool
) -> None:
    rows = [{"instruction": "q", "output": "r"}, {"instruction": "a", "output": "b"} | change]
    assert read_layout(str(write_rows(tmp_path / "a.jsonl", rows)), "sft").alike is alike


def test_texts_in_two_columns_are_not_read_alike(tmp_path: Path) -> None:
    layout = read_layout(str(write_rows(tmp_path / "a.jsonl", [{"text": "a"}, {"content": "b"}])), "pt")
    assert not layout.alike
    assert len(layout.rows) == 2


def test_turns_alternate_after_a_system_turn_or_none() -> None:
    def chat(roles: str) -> Chat:
        names = {"s": "system", "u": "user", "a": "assistant"}
        return Chat(tuple(Message(names[role], "x") for role in roles))  # type: ignore[arg-type]

    assert [roles for roles in ("ua", "sua", "uaua", "u", "suasua", "au", "uaa") if alternates(chat(roles))] == [
        "ua",
        "sua",
        "uaua",
    ]
