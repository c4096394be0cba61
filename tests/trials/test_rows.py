"""Every form, every file type, and every complaint of reading a data set."""

import csv
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

from trials.default_data import to_messages
from trials.errors import DataError
from trials.forms import Chat, Message, Stage, Text, tidy_chat
from trials.rows import identify, read_rows

QA = [{"instruction": "hi", "output": "hello"}, {"instruction": "bye", "output": "see you"}]


def write(path: Path, rows: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def turns(chat: Any) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in chat.messages]


def complaint(dataset: str | Path, stage: Stage = "sft") -> str:
    with pytest.raises(DataError) as error:
        read_rows(str(dataset), stage)
    message = str(error.value)
    assert len(message.splitlines()) <= 2
    return message


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


# --- the hub


def test_a_hub_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(name: str, **options: Any) -> datasets.Dataset:
        asked.append((name, options))
        return datasets.Dataset.from_list(QA)

    monkeypatch.setattr(datasets, "load_dataset", load)
    raw = read_rows("someone/qa-for-rows", "sft")
    assert (raw.name, raw.form, len(raw.rows)) == ("someone/qa-for-rows", "alpaca", 2)
    assert asked == [("someone/qa-for-rows", {"split": "train"})]


@pytest.mark.parametrize(
    "error",
    [
        datasets.exceptions.DatasetNotFoundError("doesn't exist\non the Hub"),
        ConnectionError("offline\nfor long"),
        HTTPError("403 Forbidden"),
        ValueError('Unknown split "train"'),
        RuntimeError("Dataset scripts are no longer supported"),
    ],
)
def test_a_hub_data_set_that_cannot_be_loaded(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", load)
    reason = str(error).splitlines()[0]
    wanted = f"'no/such-set' is no file or folder here, nor could a hub data set of that name be loaded ({reason})"
    assert complaint("no/such-set") == wanted


# --- the defaults


def test_the_default_of_sft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked the hub"))
    raw = read_rows("", "sft")
    assert (raw.name, raw.form) == ("chitchat", "messages")
    assert len(raw.rows) + raw.unusable == 7168
    assert len(raw.rows) > 4000
    for row in raw.rows:
        assert isinstance(row, Chat)
        roles = [message["role"] for message in to_messages(row)]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
    assert turns(raw.rows[0])[:2] == [
        ("user", "Hello\nHow are you doing today?"),
        ("assistant", "whats up MD\nim doing good\nhow are you doing?"),
    ]


def test_the_default_of_pt() -> None:
    raw = read_rows("", "pt")
    assert (raw.name, raw.form) == ("pydoc", "text")
    assert len(raw.rows) > 50
    assert any(isinstance(row, Text) and '"while" statement' in row.text for row in raw.rows)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install chitchat-dataset" in complaint("chitchat")


def test_a_damaged_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dataset.json").write_text('{"a": [')
    monkeypatch.setattr("trials.default_data._chitchat_file", lambda: tmp_path / "dataset.json")
    assert "pip install --force-reinstall chitchat-dataset" in complaint("chitchat")


# --- fingerprints


def test_a_fingerprint_is_of_the_content_not_of_the_path(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    first, second = write(tmp_path / "a.jsonl", QA), write(tmp_path / "x" / "b.jsonl", QA)
    assert identify(first, "sft")[1] == identify(second, "sft")[1] == read_rows(first, "sft").fingerprint
    write(tmp_path / "a.jsonl", [*QA, QA[0]])
    assert identify(first, "sft")[1] != identify(second, "sft")[1]


def test_a_folders_fingerprint_covers_every_file(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", QA)
    one = identify(str(tmp_path), "sft")[1]
    write(tmp_path / "b.jsonl", QA)
    assert identify(str(tmp_path), "sft")[1] != one


def test_a_defaults_fingerprint_follows_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    before = identify("", "sft")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "99")
    assert before[0] == "chitchat"
    assert identify("chitchat", "sft")[1] != before[1]
    assert identify("", "pt")[0] == "pydoc"


def test_reading_imports_nothing_heavy(tmp_path: Path) -> None:
    import subprocess

    path = write(tmp_path / "a.jsonl", QA)
    code = (
        "import sys; from trials.rows import read_rows; read_rows(sys.argv[1], 'sft'); read_rows('', 'pt');"
        "sys.exit(any(heavy in sys.modules for heavy in ('torch', 'datasets', 'transformers', 'pyarrow')))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code, path], cwd=root, check=False).returncode == 0
