"""A data set in each form that users bring, with the columns and words that vary."""

import csv
import json
from pathlib import Path
from typing import Any

from tests.sweep.winners import write_rows

QUESTIONS = [f"question {i}" for i in range(24)]


def _alpaca(i: int) -> dict[str, Any]:
    return {
        "instruction": QUESTIONS[i],
        "input": f"input {i}" if i % 2 else "",
        "output": f"answer {i}",
        "system": f"be brief {i}" if i % 3 else "",
        "history": [["before", f"earlier {i}"]] if i % 4 == 0 else [],
    }


def _sharegpt(i: int, user: str = "human", assistant: str = "gpt") -> dict[str, Any]:
    turns = [{"from": user, "value": QUESTIONS[i]}, {"from": assistant, "value": f"answer {i}"}]
    return {"conversations": turns * (1 + i % 2)}


def _messages(i: int) -> dict[str, Any]:
    turns = [{"role": "user", "content": QUESTIONS[i]}, {"role": "assistant", "content": f"answer {i}"}]
    return {"messages": ([{"role": "system", "content": "be brief"}] if i % 2 else []) + turns, "source": "here"}


def data_forms(folder: Path) -> dict[str, Path]:
    """Writes them; the name says what is special. The last need a copy."""
    count = range(len(QUESTIONS))
    mended = [_sharegpt(i) for i in count]
    mended[3]["conversations"].insert(0, {"from": "human", "value": "two turns of one side"})
    mended[4]["conversations"].append({"from": "human", "value": "and no answer"})
    rows: dict[str, list[dict[str, Any]]] = {
        "alpaca": [_alpaca(i) for i in count],
        "alpaca-two-columns": [{key: _alpaca(i)[key] for key in ("instruction", "output")} for i in count],
        "sharegpt": [_sharegpt(i) for i in count],
        "sharegpt-system": [{**_sharegpt(i), "system": f"be brief {i}" if i % 2 else ""} for i in count],
        "sharegpt-user": [_sharegpt(i, "user", "assistant") for i in count],
        "messages": [_messages(i) for i in count],
        "text": [
            {"text": f"{question}, a text of some length. " * 12, "id": i} for i, question in enumerate(QUESTIONS)
        ],
        "content": [{"content": f"{question}, a text of some length. " * 12} for question in QUESTIONS],
        "mended": mended,
        "two-words": [_sharegpt(i, *(("user", "assistant") if i % 2 else ())) for i in count],
    }
    files = {name: write_rows(folder / f"{name}.jsonl", part) for name, part in rows.items()}
    (folder / "one list.json").write_text(json.dumps(rows["alpaca"]), encoding="utf8")
    files["list"] = folder / "one list.json"
    files["csv"] = folder / "numbers.csv"
    with files["csv"].open("w", newline="", encoding="utf8") as file:
        writer = csv.writer(file)
        writer.writerow(["instruction", "input", "output"])
        writer.writerows([f"count to {i}", "", i] for i in count)
    files["folder"] = folder / "several"
    write_rows(files["folder"] / "a.jsonl", rows["messages"][:12])
    write_rows(files["folder"] / "b.jsonl", rows["messages"][12:])
    files["folder-with-readme"] = folder / "described"
    write_rows(files["folder-with-readme"] / "a.jsonl", rows["messages"])
    (files["folder-with-readme"] / "README.md").write_text("rows")
    return files
