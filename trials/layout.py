"""What a data set's columns and role words are, and whether another program that is told them reads the same rows.

Other programs take rows as they stand, where `forms` mends them: it joins neighbours of one role, leaves blank turns
out, and knows several words for a role.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trials.forms import Chat, Message, Role, Row, Stage, Text, parse_table
from trials.rows import locate, read_tables
from trials.tables import Table, data_files

# What the reader looks at in each form.
COLUMNS = {
    "alpaca": ("instruction", "input", "output", "system", "history"),
    "sharegpt": ("conversations", "system"),
    "messages": ("messages",),
    "text": ("text", "content"),
}
TURNS = {"sharegpt": ("conversations", "from", "value"), "messages": ("messages", "role", "content")}
_USUAL: dict[str, dict[Role, str]] = {
    "sharegpt": {"user": "human", "assistant": "gpt", "system": "system"},
    "messages": {"user": "user", "assistant": "assistant", "system": "system"},
}
_ROLE_OF: dict[str, Role] = {"human": "user", "gpt": "assistant"}


@dataclass(frozen=True, slots=True)
class Layout:
    """How a data set of files, or of the hub, spells its rows.

    Attributes:
        form: alpaca, sharegpt, messages or text.
        columns: Those of the columns that the reader uses which the data has.
        roles: The data's word for each role; empty for the forms without roles.
        files: Where it lies, in order; none for a data set of the hub.
        alike: Whether a program that knows columns and role words, and mends nothing, reads the same rows.
        rows: The rows that can be used.
    """

    form: str
    columns: tuple[str, ...]
    roles: Mapping[Role, str]
    files: tuple[Path, ...]
    alike: bool
    rows: Sequence[Row]


def read_layout(dataset: str, stage: Stage) -> Layout:
    """Read how a data set that is no default spells its rows.

    Args:
        dataset: A file, a folder or a hub name.
        stage: "sft" or "pt".

    Raises:
        DataError: It cannot be read.
    """
    source = locate(dataset, stage)
    form, tables = read_tables(source, stage)
    table = [row for _, part in tables for row in part]
    rows = [row for label, part in tables for row in parse_table(part, form, label)]
    there = {column for row in table for column in row}
    columns = tuple(column for column in COLUMNS[form] if column in there)
    if form == "text":
        columns = columns[:1]  # text, where both are there
    roles, one_word_each = _roles(table, form)
    alike = one_word_each and all(
        row is not None and _as_it_stands(values, form, columns, roles) == _content(row)
        for values, row in zip(table, rows, strict=True)
    )
    files = tuple(data_files(source)) if isinstance(source, Path) else ()
    return Layout(form, columns, roles, files, alike, [row for row in rows if row is not None])


def alternates(chat: Chat) -> bool:
    """Whether user and assistant take turns, after a system turn or none."""
    roles = [message.role for message in chat.messages]
    turns = roles[1:] if roles[0] == "system" else roles
    return len(turns) % 2 == 0 and turns == ["user", "assistant"] * (len(turns) // 2)


def _roles(table: Table, form: str) -> tuple[Mapping[Role, str], bool]:
    """The data's word for each role, and whether it has one alone for each."""
    if form not in TURNS:
        return {}, True
    column, role_key, _ = TURNS[form]
    found: dict[Role, set[str]] = {}
    for turn in (turn for row in table for turn in row.get(column) or []):
        word = turn[role_key]
        plain: Any = word.lower()
        found.setdefault(_ROLE_OF.get(plain, plain), set()).add(word)
    words = {role: min(found.get(role, {usual})) for role, usual in _USUAL[form].items()}
    return words, all(len(spellings) == 1 for spellings in found.values())


def _content(row: Row) -> tuple[Message, ...] | str | None:
    if isinstance(row, Text):
        return row.text
    return row.messages if alternates(row) else None


def _as_it_stands(
    values: Mapping[str, Any], form: str, columns: Sequence[str], roles: Mapping[Role, str]
) -> tuple[Message, ...] | str:
    """A row as a program reads it that takes the columns as they are."""
    if form == "text":
        return str(values.get(columns[0]))
    if form == "alpaca":
        turns = [(asked, answered) for asked, answered in values.get("history") or []]
        asked = "\n".join(part for part in (values.get("instruction"), values.get("input")) if part)
        turns.append((asked, str(values.get("output"))))
        pairs = [(Message("user", asked), Message("assistant", answered)) for asked, answered in turns]
        chat = [message for pair in pairs for message in pair]
    else:
        column, role_key, text_key = TURNS[form]
        role_of = {word: role for role, word in roles.items()}
        chat = [Message(role_of[turn[role_key]], turn[text_key]) for turn in values.get(column) or []]
    system = values.get("system") if "system" in columns else None
    if system and chat and chat[0].role != "system":
        chat.insert(0, Message("system", system))
    return tuple(chat)
