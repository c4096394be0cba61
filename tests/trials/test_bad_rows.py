"""Every complaint of reading a data set."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest

from tests.trials.row_files import QA, complaint, write

# --- complaints


@pytest.mark.parametrize("name", ["train.jsonl", "./train", "/no/such", "~/x", "data/", "a/b/c", "data/TRAIN.CSV"])
def test_what_looks_like_a_path_is_not_asked_of_the_hub(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked the hub"))
    assert complaint(name) == f"no such file: {name}"


def test_a_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    good = json.dumps(QA[0]) + "\n"
    path.write_text(good * 811 + good[:20] + "\n" + good)
    wanted = "train.jsonl, line 812: not JSON (unexpected end of line). Mend or remove it; nothing was started."
    assert complaint(path) == wanted
    path.write_text("\n" + good + "{'text': 1}\n")
    assert complaint(path).startswith("train.jsonl, line 3: not JSON (Expecting property name")


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        (
            "list.json",
            '[{"text": "a"},\n {"text": }]',
            "list.json, line 2: not JSON (Expecting value, column 11)",
        ),
        ("list.json", '[{"text": "a"},\n', "list.json, line 2: not JSON (unexpected end of file)"),
        ("deep.jsonl", "{}\n" + "[" * 100_000, "deep.jsonl, line 2: not JSON (nested too deeply)"),
        ("huge.jsonl", '{"text": ' + "9" * 5000 + "}", "huge.jsonl, line 1: not JSON (Exceeds the limit"),
        (
            "one.json",
            '{\n"data": []\n}',
            "one.json: one value; allowed: a list of objects, or an object a line",
        ),
        ("str.jsonl", '{"text": "a"}\n"b"\n', "str.jsonl, line 2: not an object with columns, but str"),
        ("str.json", '[{"text": "a"}, "b"]', "str.json, row 2: not an object with columns, but str"),
        ("a.csv", 'text\n"open\n', "a.csv, line 2: not CSV (unexpected end of data)"),
        ("a.csv", "text\nx\na,b\n", "a.csv, line 3: more fields than the header names"),
        ("a.parquet", "no", "a.parquet: not a parquet file ("),
        ("a.txt", "words", "a.txt: cannot read this kind of file; allowed: .json, .jsonl, .csv, .parquet"),
        ("a.jsonl", "", "a.jsonl has no rows"),
        ("a.json", "[]", "a.json has no rows"),
        ("a.csv", "text\n", "a.csv has no rows"),
    ],
)
def test_a_file_that_cannot_be_parsed(tmp_path: Path, name: str, content: str, wanted: str) -> None:
    (tmp_path / name).write_text(content)
    assert complaint(tmp_path / name, "pt").startswith(wanted)


def test_bytes_that_are_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"text": "a"}\n{"text": "caf\xe9"}\n')
    assert complaint(path, "pt").startswith("latin.jsonl, line 2: not UTF-8 (byte 0xe9 at offset 27)")


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    assert "holds no file that ends in .json, .jsonl, .csv, .parquet" in complaint(tmp_path)
    write(tmp_path / "a.jsonl", QA)
    write(tmp_path / "b.jsonl", [{"messages": []}])
    message = complaint(tmp_path)
    assert "a.jsonl is alpaca, b.jsonl is messages" in message


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"conversations": "hi"}, "conversations is not a list, but str"),
        ({"conversations": ["hi"]}, "conversations has a turn that is not an object with from and value"),
        (
            {"conversations": [{"from": "human"}]},
            "conversations has a turn that is not an object with from and",
        ),
        ({"conversations": [{"from": "tool", "value": "x"}]}, "from is 'tool'; allowed: human, user, gpt"),
        ({"conversations": [{"from": "human", "value": 5}]}, "value is not a text, but int"),
        ({"conversations": [], "system": ["x"]}, "system is not a text, but list"),
        ({"conversations": [{"from": "gpt", "value": "\ud83d"}]}, "value holds half a character"),
        ({"instruction": "q", "output": "a"}, "has no conversations (it has instruction, output)"),
    ],
)
def test_a_row_of_wrong_types_is_named(tmp_path: Path, row: dict[str, Any], wanted: str) -> None:
    good = {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}
    if row.get("conversations") == []:
        row = row | {"conversations": good["conversations"]}
    path = write(tmp_path / "s.jsonl", [good] * 16 + [row])
    assert complaint(path).startswith(f"s.jsonl, row 17: {wanted}")


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"instruction": "q", "output": 3}, "output is not a text, but int"),
        (
            {"instruction": "q", "output": "a", "history": "no"},
            "history is not a list of [instruction, output]",
        ),
        (
            {"instruction": "q", "output": "a", "history": [["one"]]},
            "history is not a list of [instruction, out",
        ),
        ({"instruction": "q"}, "has no output (it has instruction)"),
    ],
)
def test_an_alpaca_row_of_wrong_types_is_named(tmp_path: Path, row: dict[str, Any], wanted: str) -> None:
    assert complaint(write(tmp_path / "a.jsonl", [QA[0], row])).startswith(f"a.jsonl, row 2: {wanted}")


def test_columns_of_no_known_form(tmp_path: Path) -> None:
    message = complaint(write(tmp_path / "q.jsonl", [{"question": "q", "answer": "a"}]))
    assert message.startswith("q.jsonl has the columns question, answer; allowed: alpaca (instruction, output)")


def test_a_form_that_the_stage_cannot_use(tmp_path: Path) -> None:
    chats, texts = write(tmp_path / "c.jsonl", QA), write(tmp_path / "t.jsonl", [{"text": "x"}])
    assert complaint(chats, "pt") == "c.jsonl holds chats (alpaca), but stage pt needs a column text"
    assert complaint(texts).startswith("t.jsonl holds plain text, but stage sft needs chats: alpaca (")
    assert "stage pt needs a column text" in complaint("chitchat", "pt")
    assert "stage sft needs chats" in complaint("pydoc", "sft")
