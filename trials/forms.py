"""Chats and texts, and the four forms (LLaMA-Factory's) in which a row spells one.

Knows columns and their meaning; knows no files and no tokenizer.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trials.errors import DataError
from trials.tables import Table

Stage = Literal["sft", "pt"]
Role = Literal["system", "user", "assistant"]

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


def form_of(table: Table, stage: Stage | None, name: str) -> str:
    """Return which form a table's columns tell: messages, sharegpt, alpaca or text.

    Without a stage, columns of both are chats: Alpaca's own file has a text column too.

    Raises:
        DataError: They tell none, or none that suits the stage. `name` is what the message calls the table.
    """
    columns = {column: None for row in table for column in row}  # keeps the order, for the message
    chat = next((form for form, needed in _CHAT_COLUMNS.items() if needed <= columns.keys()), None)
    text = "text" if "text" in columns or list(columns) == ["content"] else None
    form = (text or chat) if stage == "pt" else (chat or text)
    if form is None:
        raise DataError(
            f"{name} has the columns {', '.join(columns) or '(none)'}; allowed: {_CHAT_FORMS} for stage sft, "
            "text for stage pt"
        )
    if stage is not None:
        check_stage(form, stage, name)
    return form


def check_stage(form: str, stage: Stage, name: str) -> None:
    """Refuse a form that the stage cannot train on.

    Raises:
        DataError: Stage pt with chats, or stage sft with plain texts.
    """
    if stage == "pt" and form != "text":
        raise DataError(f"{name} holds chats ({form}), but stage pt needs a column text")
    if stage == "sft" and form == "text":
        raise DataError(f"{name} holds plain text, but stage sft needs chats: {_CHAT_FORMS}")


def parse_table(table: Table, form: str, name: str) -> list[Row | None]:
    """Return a chat or text for each row of a table, None for a row that has none.

    Raises:
        DataError: A row does not have its form; the message names the row.
    """
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
