"""A data set as chats or texts, from a file, a folder, the hub or the defaults.

Knows where data sets come from and what identifies them; file types are `tables`' knowledge, row forms `forms`'.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trials.default_data import default_rows, default_version
from trials.errors import DataError
from trials.forms import Chat, Row, Stage, Text, check_stage, form_of, parse_table
from trials.tables import SUFFIXES, Table, data_files, load_hub, read_bytes, read_table

__all__ = ["Chat", "RawRows", "Text", "identify", "read_rows"]

DEFAULT_OF_STAGE: dict[Stage, str] = {"sft": "chitchat", "pt": "pydoc"}


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


def identify(dataset: str, stage: Stage | None) -> tuple[str, str]:
    """Name a data set and fingerprint its content, without parsing it.

    Two places that hold the same bytes give the same fingerprint, whatever their paths.

    Returns:
        The display name, and the hex digest: of the files' bytes, of the default's package version and stage,
        or the hub data set's own.

    Raises:
        DataError: There is no such data set.
    """
    source = locate(dataset, stage)
    digest = hashlib.sha256()
    if isinstance(source, Path):
        for path in data_files(source):
            digest.update(path.suffix.lower().encode() + hashlib.sha256(read_bytes(path)).digest())
        return source.resolve().name, digest.hexdigest()
    if source in DEFAULT_OF_STAGE.values():
        digest.update(f"{source} {default_version(source)} {stage}".encode())
    else:
        digest.update(f"hub {load_hub(source)._fingerprint}".encode())
    return source, digest.hexdigest()


def read_rows(dataset: str, stage: Stage | None) -> RawRows:
    """Read a data set into rows.

    Args:
        dataset: A .json, .jsonl, .csv or .parquet file, a folder of these, "chitchat", "pydoc", "" (the
            stage's default) or a hub name, of which the split "train" is taken.
        stage: "sft" wants chats, "pt" wants texts; None takes either, and `form` says which, but has no default.

    Raises:
        DataError: The data set does not exist, cannot be parsed, has another form than the stage needs, or
            has no row that can be used. The message names the file and the line or row.
    """
    name, fingerprint = identify(dataset, stage)
    source = locate(dataset, stage)
    if isinstance(source, str) and source in DEFAULT_OF_STAGE.values():
        form = "text" if source == "pydoc" else "messages"
        if stage is not None:
            check_stage(form, stage, source)
        found: list[Row | None] = default_rows(source)
    else:
        form, tables = read_tables(source, stage)
        found = [row for label, table in tables for row in parse_table(table, form, label)]
    rows = [row for row in found if row is not None]
    if not rows:
        raise DataError(f"no row of {name} has text" + (" and an assistant turn" if form != "text" else ""))
    return RawRows(name, form, rows, len(found) - len(rows), fingerprint)


def read_tables(source: Path | str, stage: Stage | None) -> tuple[str, list[tuple[str, Table]]]:
    """Read a data set's tables as they stand, each with what messages call it, and tell their form.

    Args:
        source: A file or folder, or a hub name.
        stage: Which forms suit; None for any.

    Raises:
        DataError: A file cannot be parsed, or the tables have no form, not the stage's, or not one.
    """
    name = source.resolve().name if isinstance(source, Path) else source
    tables = (
        [(path.name, read_table(path)) for path in data_files(source)]
        if isinstance(source, Path)
        else [(source, load_hub(source).to_list())]
    )
    forms = {label: form_of(table, stage, label) for label, table in tables if table}
    if not forms:
        raise DataError(f"{name} has no rows")
    if len(set(forms.values())) > 1:
        listed = ", ".join(f"{label} is {form}" for label, form in forms.items())
        raise DataError(f"the files of {name} differ in form ({listed}): a folder must hold one form")
    return next(iter(forms.values())), tables


def locate(dataset: str, stage: Stage | None) -> Path | str:
    """Return the path of a file or folder, or the name of a default or of a hub data set."""
    if not dataset and stage is not None:
        return DEFAULT_OF_STAGE[stage]
    if dataset in DEFAULT_OF_STAGE.values():
        return dataset
    path = Path(os.path.expanduser(dataset))  # Path's own raises for a user that there is not
    if path.exists():
        return path
    # A hub name is "name" or "owner/name": what cannot be one is a path with a slip in it.
    separators = dataset.count("/") + 2 * dataset.count("\\")
    path_like = path.suffix.lower() in SUFFIXES or dataset[0] in "./~" or dataset[-1] == "/" or separators > 1
    if path_like:
        raise DataError(f"no such file: {dataset}")
    return dataset
