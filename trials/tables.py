"""Data sets as tables of columns and values: the file types that are read, and the hub.

Knows how rows are stored; what their columns mean is `forms`' knowledge.
"""

import csv
import json
import sys
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn

from trials.errors import DataError

Table = list[dict[str, Any]]  # rows as read: column -> value of any type

SUFFIXES = (".json", ".jsonl", ".csv", ".parquet")


def data_files(path: Path) -> list[Path]:
    """Return the data files at a path, sorted by name: itself, or those that lie directly in a folder.

    Raises:
        DataError: There is none that can be read.
    """
    if not path.is_dir():
        if path.suffix.lower() not in SUFFIXES:
            raise DataError(f"{path.name}: cannot read this kind of file; allowed: {', '.join(SUFFIXES)}")
        return [path]
    inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file())
    files = [p for p in inside if not p.name.startswith(".")]
    if not files:
        raise DataError(f"the folder {path} holds no file that ends in {', '.join(SUFFIXES)}")
    return files


@lru_cache(maxsize=1)  # identify and read_rows both ask, and each time the hub may be asked
def load_hub(name: str) -> Any:
    """Load the split "train" of a hub data set; its loading scripts, if it has any, are never run.

    Raises:
        DataError: There is no such data set, it has no such split, or the hub cannot be reached.
    """
    import datasets
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]  # of the client's HTTP library

    # What is known to come out: no network (OSError), a proxy that refuses (HTTPError), a name or split that cannot
    # be (ValueError), a loading script (RuntimeError), files of no known kind (DatasetsError).
    known = (OSError, HTTPError, ValueError, RuntimeError, datasets.exceptions.DatasetsError)
    try:
        return datasets.load_dataset(name, split="train")
    except known as error:
        raise DataError(
            f"'{name}' is no file or folder here, nor could a hub data set of that name be loaded ({_short(error)})"
        ) from error


def _short(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def read_bytes(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read ({error.strerror})") from error


def read_table(path: Path) -> Table:
    """Return a file's rows as they stand, an empty list when it has none.

    Raises:
        DataError: The file cannot be read or parsed; the message names the line.
    """
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path)
    data = read_bytes(path)
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = f"0x{data[error.start]:02x} at offset {error.start}"
        raise DataError(f"{path.name}, line {line}: not UTF-8 (byte {byte}). Save it as UTF-8.") from error
    return _read_csv(content, path.name) if path.suffix.lower() == ".csv" else _read_json(content, path.name)


def _read_parquet(path: Path) -> Table:
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    try:
        table: Table = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path.name}: not a parquet file ({_short(error)})") from error
    return table


def _read_csv(content: str, name: str) -> Table:
    csv.field_size_limit(sys.maxsize)  # the default limit of 128 KiB is less than a long document
    reader = csv.DictReader(StringIO(content, newline=""), strict=True)
    table: Table = []
    try:
        for row in reader:
            if None in row:
                raise DataError(f"{name}, line {reader.line_num}: more fields than the header names")
            table.append(row)
    except csv.Error as error:
        start = reader.line_num + 1  # of the broken record: an open quote is noticed only at the file's end
        raise DataError(f"{name}, line {start}: not CSV ({error}). Mend or remove it.") from error
    return table


def _read_json(content: str, name: str) -> Table:
    """Read a list of objects, or an object a line, whichever the content is."""
    if content.lstrip().startswith("["):
        try:
            values = json.loads(content)
        except (ValueError, RecursionError) as error:
            _not_json(error, name, getattr(error, "lineno", 1))
        places = [f"row {i}" for i in range(1, len(values) + 1)]
    else:
        values, places = [], []
        for number, line in enumerate(content.split("\n"), 1):  # splitlines() would split inside strings
            if not line.strip():
                continue
            try:
                values.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                if not values and _is_json(content):
                    raise DataError(f"{name}: one value; allowed: a list of objects, or an object a line") from error
                _not_json(error, name, number)
            places.append(f"line {number}")
    for value, place in zip(values, places, strict=True):
        if not isinstance(value, dict):
            raise DataError(f"{name}, {place}: not an object with columns, but {type(value).__name__}")
    return list(values)


def _is_json(content: str) -> bool:
    try:
        json.loads(content)
    except (ValueError, RecursionError):
        return False
    return True


def _not_json(error: Exception, name: str, line: int) -> NoReturn:
    reason = "nested too deeply"
    if isinstance(error, json.JSONDecodeError):
        at_end = error.pos >= len(error.doc.rstrip()) or error.msg.startswith("Unterminated string")
        end = "file" if error.doc.lstrip().startswith("[") and "\n" in error.doc else "line"
        reason = f"unexpected end of {end}" if at_end else f"{error.msg}, column {error.colno}"
    elif isinstance(error, ValueError):
        reason = str(error).split(";")[0]
    raise DataError(f"{name}, line {line}: not JSON ({reason}). Mend or remove it; nothing was started.") from error
