"""Rows of the hub and of the packages, and what identifies a data set."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

from tests.trials.row_files import QA, complaint, turns, write
from trials.default_data import to_messages
from trials.forms import Chat, Text
from trials.rows import identify, read_rows

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


# --- without a stage


@pytest.mark.parametrize(
    ("rows", "form"),
    [
        ([{"text": "words"}], "text"),
        (QA, "alpaca"),
        ([{**row, "text": "both"} for row in QA], "alpaca"),
    ],
)
def test_without_a_stage_the_columns_tell_it(tmp_path: Path, rows: list[dict[str, Any]], form: str) -> None:
    assert read_rows(str(write(tmp_path / "rows.jsonl", rows)), None).form == form
