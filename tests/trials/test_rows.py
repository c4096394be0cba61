"""Every form and every file type that a data set can have."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from tests.trials.row_files import QA, complaint, turns, write
from trials.forms import Chat, Message, Text, tidy_chat
from trials.rows import read_rows

# --- forms


def test_alpaca_with_all_its_columns(tmp_path: Path) -> None:
    row = {
        "instruction": "translate",
        "input": "chat",
        "output": "cat",
        "system": "You are brief.",
        "history": [["hi", "hello"], ["and", "so"]],
    }
    raw = read_rows(write(tmp_path / "a.jsonl", [row]), "sft")
    assert (raw.name, raw.form, raw.unusable) == ("a.jsonl", "alpaca", 0)
    assert turns(raw.rows[0]) == [
        ("system", "You are brief."),
        ("user", "hi"),
        ("assistant", "hello"),
        ("user", "and"),
        ("assistant", "so"),
        ("user", "translate\nchat"),
        ("assistant", "cat"),
    ]


def test_alpaca_with_empty_optional_columns(tmp_path: Path) -> None:
    row = {"instruction": "hi", "input": "", "output": "hello", "system": None, "history": None}
    raw = read_rows(write(tmp_path / "a.jsonl", [row]), "sft")
    assert turns(raw.rows[0]) == [("user", "hi"), ("assistant", "hello")]


def test_alpaca_without_its_own_answer_does_not_teach_the_history(tmp_path: Path) -> None:
    row = {"instruction": "hi", "output": " ", "history": [["a", "b"]]}
    raw = read_rows(write(tmp_path / "a.jsonl", [row, {"instruction": "hi", "output": "yo"}]), "sft")
    assert [turns(chat)[-1] for chat in raw.rows] == [("assistant", "yo")]
    assert raw.unusable == 1


def test_sharegpt(tmp_path: Path) -> None:
    names = ["human", "gpt", "user", "assistant"]
    row = {"conversations": [{"from": name, "value": f"{name} says"} for name in names], "system": "sys"}
    raw = read_rows(write(tmp_path / "s.jsonl", [row]), "sft")
    assert raw.form == "sharegpt"
    assert turns(raw.rows[0]) == [
        ("system", "sys"),
        ("user", "human says"),
        ("assistant", "gpt says"),
        ("user", "user says"),
        ("assistant", "assistant says"),
    ]


def test_messages(tmp_path: Path) -> None:
    row = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "u"},
            {"role": "assistant", "content": "a"},
        ]
    }
    raw = read_rows(write(tmp_path / "m.jsonl", [row]), "sft")
    assert raw.form == "messages"
    assert turns(raw.rows[0]) == [("system", "s"), ("user", "u"), ("assistant", "a")]


@pytest.mark.parametrize("row", [{"text": "words"}, {"content": "words"}, {"text": "words", "content": "no", "id": 3}])
def test_text(tmp_path: Path, row: dict[str, Any]) -> None:
    raw = read_rows(write(tmp_path / "t.jsonl", [row]), "pt")
    assert (raw.form, list(raw.rows)) == ("text", [Text("words")])


def test_a_file_with_chats_and_text_gives_what_the_stage_needs(tmp_path: Path) -> None:
    path = write(tmp_path / "both.jsonl", [{"instruction": "i", "output": "o", "text": "i o"}])
    assert read_rows(path, "sft").form == "alpaca"
    assert read_rows(path, "pt").rows[0] == Text("i o")


# --- order of turns


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("u:1 u:2 a:3", "u:1\n2 a:3"),
        ("u:1 a:2 a:3", "u:1 a:2\n3"),
        ("a:0 u:1 a:2", "u:1 a:2"),
        ("s:s a:0 a:00 u:1 a:2", "s:s u:1 a:2"),
        ("u:1 a:2 u:3", "u:1 a:2"),
        ("u:1 a:2 s:3 u:4", "u:1 a:2"),
        ("u:1 a:  u:2 a:3", "u:1\n2 a:3"),
    ],
)
def test_turns_are_brought_in_order(before: str, after: str) -> None:
    def parse(spelled: str) -> tuple[Message, ...]:
        roles: dict[str, Any] = {"s": "system", "u": "user", "a": "assistant"}
        parts = [part.split(":") for part in spelled.split(" ") if part]
        return tuple(Message(roles[role], text) for role, text in parts)

    assert tidy_chat(parse(before)) == Chat(parse(after))


@pytest.mark.parametrize("roles", [[], ["user"], ["assistant"], ["system", "assistant"], ["system", "user"]])
def test_a_chat_without_question_or_answer_is_none(roles: list[Any]) -> None:
    assert tidy_chat(Message(role, "words") for role in roles) is None


def test_rows_without_answer_are_dropped_and_counted(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"conversations": [{"from": "human", "value": "anyone?"}]},
        {"conversations": []},
        {"conversations": None},
        {},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    ]
    raw = read_rows(write(tmp_path / "s.jsonl", rows), "sft")
    assert (len(raw.rows), raw.unusable) == (1, 4)


def test_no_usable_row_at_all(tmp_path: Path) -> None:
    chats = write(tmp_path / "s.jsonl", [{"instruction": "q", "output": ""}])
    texts = write(tmp_path / "t.jsonl", [{"text": " \n"}])
    assert complaint(chats) == "no row of s.jsonl has text and an assistant turn"
    assert complaint(texts, "pt") == "no row of t.jsonl has text"


# --- file types


def test_the_same_rows_from_every_file_type(tmp_path: Path) -> None:
    write(tmp_path / "lines.jsonl", QA)
    write(tmp_path / "lines.json", QA)
    (tmp_path / "list.json").write_text(json.dumps(QA, indent=1), encoding="utf-8")
    (tmp_path / "bom.JSONL").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "lines.jsonl").read_bytes())
    (tmp_path / "blank.jsonl").write_text("\n" + "\r\n\n".join(map(json.dumps, QA)), encoding="utf-8")
    with (tmp_path / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["instruction", "output"])
        writer.writeheader()
        writer.writerows(QA)
    pq.write_table(pa.Table.from_pylist(QA), tmp_path / "table.parquet")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 7
    expected = read_rows(str(tmp_path / "lines.jsonl"), "sft").rows
    assert turns(expected[1]) == [("user", "bye"), ("assistant", "see you")]
    for path in files:
        raw = read_rows(str(path), "sft")
        assert (raw.name, raw.rows) == (path.name, expected)
    everything = read_rows(str(tmp_path), "sft")
    assert (everything.name, everything.rows) == (tmp_path.name, [*expected] * 7)


def test_nested_parquet(tmp_path: Path) -> None:
    row = {"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "m.parquet")
    assert turns(read_rows(str(tmp_path / "m.parquet"), "sft").rows[0]) == [("user", "u"), ("assistant", "a")]


def test_line_separators_inside_a_string_do_not_end_a_line(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"text": "a\u2028b\x85c"}, ensure_ascii=False), encoding="utf-8")
    assert read_rows(str(path), "pt").rows == [Text("a\u2028b\x85c")]


def test_csv_with_long_and_many_lined_fields(tmp_path: Path) -> None:
    long = "x" * 200_000 + "\nnext, line"
    (tmp_path / "t.csv").write_text(f'text\n"{long}"\n', encoding="utf-8")
    assert read_rows(str(tmp_path / "t.csv"), "pt").rows == [Text(long)]


def test_a_folder_takes_data_files_only_in_order_of_name(tmp_path: Path) -> None:
    write(tmp_path / "b.jsonl", [{"text": "second"}])
    write(tmp_path / "a.json", [{"text": "first"}])
    write(tmp_path / ".hidden.json", [{"text": "no"}])
    (tmp_path / "README.md").write_text("no")
    (tmp_path / "sub.json").mkdir()
    assert read_rows(f"{tmp_path}/", "pt").rows == [Text("first"), Text("second")]


def test_the_home_of_a_user_that_there_is_not() -> None:
    assert complaint("~nobody-of-that-name/a.jsonl") == "no such file: ~nobody-of-that-name/a.jsonl"


def test_a_home_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "t.jsonl", [{"text": "x"}])
    assert read_rows("~/t.jsonl", "pt").rows == [Text("x")]
