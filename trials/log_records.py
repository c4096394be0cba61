"""The text of a log, turned into records: plain dicts, one a logged line. Tolerant of how such files are broken."""

import codecs
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trials.errors import TrialsError

# A run of 100,000 logged steps is 20 MB. Ten times that is no log that a person looks at.
LARGEST_BYTES = 256 * 2**20
_BYTE_ORDER_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_LFS = "version https://git-lfs.github.com/spec/"
_HISTORY = '"log_history"'


class NotALog(TrialsError):
    """A file holds no losses of a fine-tuning run; the message says in one line what it holds instead."""


@dataclass
class Records:
    """A log's records, what its head said (a trainer state's fields but for the history), and what was odd."""

    records: list[dict[str, Any]]
    head: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def read_records(path: Path) -> Records:
    """Reads a `trainer_log.jsonl` or a `trainer_state.json`, told apart by what they hold and not by their name.

    Raises:
        NotALog: The file cannot be read, or is something else.
    """
    text = _text(path)
    if not text.strip():
        raise NotALog("the file is empty")
    if text.startswith(_LFS):
        raise NotALog("a Git LFS pointer: the log itself was not downloaded (git lfs pull)")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return _cut_state(text) or _lines(text)
    if isinstance(found, dict) and isinstance(found.get("log_history"), list):
        head = {name: value for name, value in found.items() if name != "log_history"}
        return Records([record for record in found["log_history"] if isinstance(record, dict)], head)
    if isinstance(found, dict):
        return Records([found])  # a log of one line, unless it has no step
    if isinstance(found, list) and any(isinstance(record, dict) for record in found):
        return Records([record for record in found if isinstance(record, dict)])
    raise NotALog(f"JSON, but no log: it holds a {type(found).__name__}")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:  # which may be a pipe, whose size nobody knows
            raw = file.read(LARGEST_BYTES + 1)
        if len(raw) > LARGEST_BYTES:
            raise NotALog(f"larger than {LARGEST_BYTES // 2**20} MB, the most that is read of a log")
    except OSError as error:
        raise NotALog(f"cannot be read: {error.strerror or error}") from error
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if raw.startswith(mark)), "utf-8")
    if encoding == "utf-8" and b"\0" in raw.rstrip(b"\0"):
        raise NotALog("a binary file")
    # A machine that lost power leaves zeros at the end of the file that it was writing.
    return raw.rstrip(b"\0").decode(encoding, errors="replace") if encoding != "utf-16" else _utf16(raw)


def _utf16(raw: bytes) -> str:
    return raw.decode("utf-16", errors="replace")


def _cut_state(text: str) -> Records | None:
    """The records of a trainer state whose end is missing; None when the text is no trainer state."""
    start = text.find("[", text.find(_HISTORY)) if _HISTORY in text else -1
    if start < 0 or not text.lstrip().startswith("{"):
        return None
    # A line log may quote the word; a state has it as a key of its own, before any record.
    decoder, records, place = json.JSONDecoder(), [], start + 1
    while (place := text.find("{", place)) >= 0:
        try:
            record, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            break
        if isinstance(record, dict):
            records.append(record)
    if not records:
        raise NotALog("a trainer state that is cut short before its first record")
    return Records(records, notes=["the file is cut short; what could be read was read"])


def _lines(text: str) -> Records:
    records: list[dict[str, Any]] = []
    bad, bad_last = 0, False
    lines = [line for line in text.splitlines() if line.strip(" \t\0,")]
    for record in _whole_lines(lines) or map(_line, lines):
        bad_last = record is None
        bad += bad_last
        if record is not None:
            records.append(record)
    if not records:
        raise NotALog("not JSON, and no line of it is")
    notes = []
    if bad_last:
        notes.append("the last line is cut short and was left out")
    if bad - bad_last:
        notes.append(f"{bad - bad_last} of {len(lines)} lines are not JSON and were left out")
    return Records(records, notes=notes)


def _whole_lines(lines: list[str]) -> list[dict[str, Any] | None]:
    """All lines' records at once, which takes a fifth of the time; none unless every line is one record."""
    try:
        found = json.loads(f"[{','.join(lines)}]")
    except (ValueError, RecursionError):
        return []
    return found if len(found) == len(lines) and all(isinstance(record, dict) for record in found) else []


def _line(line: str) -> dict[str, Any] | None:
    """A line's record; when a killed run's half line has the next run's first one behind it, that one."""
    for start in (line.find("{"), line.rfind("{")):
        if start < 0:
            return None
        try:
            record = json.loads(line[start:].rstrip(" \t\0,"))
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            return record
    return None
