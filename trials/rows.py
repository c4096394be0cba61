"""A data set as chats or texts, from a file, a folder, the hub or the defaults.

Knows the file types and the four row forms (LLaMA-Factory's); knows no tokenizer.
"""

import csv
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Any, Literal, NoReturn

from trials.errors import DataError

Stage = Literal["sft", "pt"]
Role = Literal["system", "user", "assistant"]
Table = list[dict[str, Any]]  # rows as read: column -> value of any type

SUFFIXES = (".json", ".jsonl", ".csv", ".parquet")
DEFAULT_OF_STAGE: dict[Stage, str] = {"sft": "chitchat", "pt": "pydoc"}
_CHAT_COLUMNS = {  # form -> the columns that tell it; the first form that fits counts
    "messages": {"messages"},
    "sharegpt": {"conversations"},
    "alpaca": {"instruction", "output"},
}
_CHAT_FORMS = "alpaca (instruction, output), sharegpt (conversations) or messages (messages)"
_ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Chat:
    """One row of stage sft: perhaps a system turn, then user and assistant turns, the last an assistant's."""

    messages: tuple[Message, ...]


@dataclass(frozen=True, slots=True)
class Text:
    """One row of stage pt: a document."""

    text: str


Row = Chat | Text


@dataclass(frozen=True, slots=True)
class RawRows:
    """A data set that has been read.

    Attributes:
        name: What to call it in messages: the file's, the folder's or the hub's name.
        form: alpaca, sharegpt, messages or text.
        rows: The rows that can be used, in the data set's order.
        unusable: Rows that were left out, having no text or no assistant turn.
        fingerprint: Hex digest of the data set's content; see `identify`.
    """

    name: str
    form: str
    rows: Sequence[Row]
    unusable: int
    fingerprint: str


def identify(dataset: str, stage: Stage) -> tuple[str, str]:
    """Name a data set and fingerprint its content, without parsing it.

    Two places that hold the same bytes give the same fingerprint, whatever their paths.

    Returns:
        The display name, and the hex digest: of the files' bytes, of the default's package version and stage,
        or the hub data set's own.

    Raises:
        DataError: There is no such data set.
    """
    source = _locate(dataset, stage)
    digest = hashlib.sha256()
    if isinstance(source, Path):
        for path in _files(source):
            digest.update(path.suffix.lower().encode() + hashlib.sha256(_bytes(path)).digest())
        return source.resolve().name, digest.hexdigest()
    if source in DEFAULT_OF_STAGE.values():
        from trials.default_data import default_version

        digest.update(f"{source} {default_version(source)} {stage}".encode())
    else:
        digest.update(f"hub {_load_hub(source)._fingerprint}".encode())
    return source, digest.hexdigest()


def read_rows(dataset: str, stage: Stage) -> RawRows:
    """Read a data set into rows.

    Args:
        dataset: A .json, .jsonl, .csv or .parquet file, a folder of these, "chitchat", "pydoc", "" (the
            stage's default) or a hub name, of which the split "train" is taken.
        stage: "sft" wants chats, "pt" wants texts.

    Raises:
        DataError: The data set does not exist, cannot be parsed, has another form than the stage needs, or
            has no row that can be used. The message names the file and the line or row.
    """
    name, fingerprint = identify(dataset, stage)
    source = _locate(dataset, stage)
    if isinstance(source, str) and source in DEFAULT_OF_STAGE.values():
        from trials.default_data import default_rows

        form = "text" if source == "pydoc" else "messages"
        _check_stage(form, stage, source)
        found: list[Row | None] = default_rows(source)
    else:
        tables = (
            [(path.name, _read_file(path)) for path in _files(source)]
            if isinstance(source, Path)
            else [(source, _load_hub(source).to_list())]
        )
        forms = {label: _form_of(table, stage, label) for label, table in tables if table}
        if not forms:
            raise DataError(f"{name} has no rows")
        if len(set(forms.values())) > 1:
            listed = ", ".join(f"{label} is {form}" for label, form in forms.items())
            raise DataError(f"the files of {name} differ in form ({listed}): a folder must hold one form")
        form = next(iter(forms.values()))
        found = [row for label, table in tables for row in _parse(table, form, label)]
    rows = [row for row in found if row is not None]
    if not rows:
        raise DataError(f"no row of {name} has text" + (" and an assistant turn" if stage == "sft" else ""))
    return RawRows(name, form, rows, len(found) - len(rows), fingerprint)


def tidy_chat(messages: Iterable[Message]) -> Chat | None:
    """Bring turns into an order that chat templates accept and training can use.

    Blank turns go, assistant turns before the first user turn go, neighbours of one role are joined by a
    newline, and turns after the last assistant turn go.

    Returns:
        The chat, or None when no assistant turn remains.
    """
    turns = [message for message in messages if message.content.strip()]
    start = next((i for i, turn in enumerate(turns) if turn.role == "user"), len(turns))
    joined: list[Message] = []
    for turn in [turn for turn in turns[:start] if turn.role == "system"] + turns[start:]:
        if joined and joined[-1].role == turn.role:
            joined[-1] = Message(turn.role, f"{joined[-1].content}\n{turn.content}")
        else:
            joined.append(turn)
    while joined and joined[-1].role != "assistant":
        joined.pop()
    return Chat(tuple(joined)) if joined else None


def _locate(dataset: str, stage: Stage) -> Path | str:
    """Return the path of a file or folder, or the name of a default or of a hub data set."""
    if not dataset:
        return DEFAULT_OF_STAGE[stage]
    if dataset in DEFAULT_OF_STAGE.values():
        return dataset
    path = Path(dataset).expanduser()
    if path.exists():
        return path
    # A hub name is "name" or "owner/name": what cannot be one is a path with a slip in it.
    separators = dataset.count("/") + 2 * dataset.count("\\")
    path_like = path.suffix.lower() in SUFFIXES or dataset[0] in "./~" or dataset[-1] == "/" or separators > 1
    if path_like:
        raise DataError(f"no such file: {dataset}")
    return dataset


def _files(path: Path) -> list[Path]:
    """Return the data files at a path, sorted by name: itself, or those that lie directly in a folder."""
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
def _load_hub(name: str) -> Any:
    """Load the split "train" of a hub data set; its loading scripts, if it has any, are never run."""
    import datasets

    # What is known to come out: no network (OSError), a name or split that cannot be (ValueError), a loading
    # script (RuntimeError), files of no known kind (DatasetsError).
    known = (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError)
    try:
        return datasets.load_dataset(name, split="train")
    except known as error:
        raise DataError(
            f"'{name}' is no file or folder here, nor could a hub data set of that name be loaded ({_short(error)})"
        ) from error


def _short(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read ({error.strerror})") from error


def _read_file(path: Path) -> Table:
    """Return a file's rows as they stand, an empty list when it has none."""
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path)
    data = _bytes(path)
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


def _form_of(table: Table, stage: Stage, name: str) -> str:
    columns = {column: None for row in table for column in row}  # keeps the order, for the message
    chat = next((form for form, needed in _CHAT_COLUMNS.items() if needed <= columns.keys()), None)
    text = "text" if "text" in columns or list(columns) == ["content"] else None
    form = (chat or text) if stage == "sft" else (text or chat)
    if form is None:
        raise DataError(
            f"{name} has the columns {', '.join(columns) or '(none)'}; allowed: {_CHAT_FORMS} for stage sft, "
            "text for stage pt"
        )
    _check_stage(form, stage, name)
    return form


def _check_stage(form: str, stage: Stage, name: str) -> None:
    if stage == "pt" and form != "text":
        raise DataError(f"{name} holds chats ({form}), but stage pt needs a column text")
    if stage == "sft" and form == "text":
        raise DataError(f"{name} holds plain text, but stage sft needs chats: {_CHAT_FORMS}")


def _parse(table: Table, form: str, name: str) -> list[Row | None]:
    parse = _PARSERS[form]
    rows: list[Row | None] = []
    for number, values in enumerate(table, 1):
        try:
            rows.append(parse(values) if any(values.values()) else None)
        except DataError as error:
            raise DataError(f"{name}, row {number}: {error}") from error
    return rows


def _parse_messages(values: Mapping[str, Any]) -> Chat | None:
    return tidy_chat(_turns(values, "messages", "role", "content"))


def _parse_sharegpt(values: Mapping[str, Any]) -> Chat | None:
    system = Message("system", _text(values.get("system"), "system"))
    return tidy_chat([system, *_turns(values, "conversations", "from", "value")])


def _parse_alpaca(values: Mapping[str, Any]) -> Chat | None:
    turns = [Message("system", _text(values.get("system"), "system"))]
    history = values.get("history") or []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise DataError("history is not a list of [instruction, output] pairs")
    for asked, answered in history:
        turns += [Message("user", _text(asked, "history")), Message("assistant", _text(answered, "history"))]
    parts = [_text(_required(values, "instruction"), "instruction"), _text(values.get("input"), "input")]
    turns.append(Message("user", "\n".join(part for part in parts if part.strip())))
    turns.append(Message("assistant", _text(_required(values, "output"), "output")))
    # Without its own answer, the row would teach the history's last answer instead.
    return tidy_chat(turns) if turns[-1].content.strip() else None


def _parse_text(values: Mapping[str, Any]) -> Text | None:
    column = "content" if values.keys() == {"content"} else "text"
    text = _text(_required(values, column), column)
    return Text(text) if text.strip() else None


_PARSERS: dict[str, Callable[[Mapping[str, Any]], Row | None]] = {
    "messages": _parse_messages,
    "sharegpt": _parse_sharegpt,
    "alpaca": _parse_alpaca,
    "text": _parse_text,
}


def _required(values: Mapping[str, Any], column: str) -> Any:
    if column not in values:
        raise DataError(f"has no {column} (it has {', '.join(values)})")
    return values[column]


def _turns(values: Mapping[str, Any], column: str, role_key: str, text_key: str) -> list[Message]:
    turns = _required(values, column)
    if turns is None:
        return []
    if not isinstance(turns, list):
        raise DataError(f"{column} is not a list, but {type(turns).__name__}")
    messages = []
    for turn in turns:
        if not isinstance(turn, dict) or not {role_key, text_key} <= turn.keys():
            raise DataError(f"{column} has a turn that is not an object with {role_key} and {text_key}")
        role = turn[role_key]
        if not isinstance(role, str) or role.lower() not in _ROLES:
            raise DataError(f"{role_key} is {role!r}; allowed: {', '.join(_ROLES)}")
        messages.append(Message(_ROLES[role.lower()], _text(turn[text_key], text_key)))
    return messages


def _text(value: Any, column: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise DataError(f"{column} is not a text, but {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # JSON can spell half a character; no tokenizer takes it
        raise DataError(f"{column} holds half a character (a lone surrogate)") from error
    return value
