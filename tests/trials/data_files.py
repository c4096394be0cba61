"""What the tests of prepared data share."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.trials.tiny_tokenizer import make_tokenizer
from trials.data import DataSpec, PreparedData, prepare_data
from trials.token_rows import TokenRows

TOKENIZER = make_tokenizer()


def write_chats(path: Path, pairs: list[tuple[str, str]]) -> Path:
    rows = [json.dumps({"instruction": asked, "output": answered}) for asked, answered in pairs]
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


def write_texts(path: Path, texts: list[str]) -> Path:
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    return path


def numbered(count: int) -> list[tuple[str, str]]:
    return [(f"question {i}", f"answer {i}") for i in range(count)]


def spec_of(dataset: Path, **changes: Any) -> DataSpec:
    spec = DataSpec(str(dataset), "sft", cutoff_len=128, max_samples=None, val_size=4, seed=0)
    return replace(spec, **changes)


def prepare(spec: DataSpec, cache: Path, tokenizer: Any = TOKENIZER) -> PreparedData:
    return prepare_data(spec, tokenizer, "tokenizer-1", cache)


def texts(rows: TokenRows) -> list[str]:
    return [TOKENIZER.decode(rows.ids(i)) for i in range(len(rows))]


def plain(rows: TokenRows) -> list[str]:
    return [" ".join(text.casefold().split()) for text in texts(rows)]


def entry(cache: Path) -> Path:
    (folder,) = [path for path in (cache / "data").iterdir() if path.is_dir()]
    return folder
