"""What the tests of reading a data set share: files, and the complaint that a bad one gets."""

import json
from pathlib import Path
from typing import Any

import pytest

from trials.errors import DataError
from trials.forms import Stage
from trials.rows import read_rows

QA: list[dict[str, Any]] = [{"instruction": "hi", "output": "hello"}, {"instruction": "bye", "output": "see you"}]


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
