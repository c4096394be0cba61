"""Where the full run finds the data: where the study found it, or in a copy for programs that would misread that.

A copy holds the rows as the trials read them, as messages or texts. It is written for the default data, for a form
that the other program has not, and where the other program would not read the same rows from the data as they stand.
"""

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweep.errors import SweepError
from sweep.exports.winner import Winner
from trials.default_data import to_messages
from trials.errors import DataError
from trials.forms import Chat, Role, Row, Stage
from trials.layout import alternates, read_layout
from trials.rows import DEFAULT_OF_STAGE, read_rows

FOLDER = "data"
# What `datasets` reads files of each kind as. CSV is copied instead: it would turn an answer of 42 into a number.
KINDS = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}
PLAIN_ROLES: Mapping[Role, str] = {"user": "user", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True)
class Data:
    """A data set as another program is told of it.

    Attributes:
        name: One word for it.
        form: alpaca, sharegpt, messages or text.
        columns: The columns that hold something to train on.
        roles: Its word for each role.
        files: Where it lies; none on the hub.
        path: The file, or the folder that holds the files and nothing else; none on the hub.
        hub: Its name on the hub; empty for files.
        copied: Whether it is a copy in the export's own folder.
        broken: Rows whose turns do not alternate, which LLaMA-Factory leaves out.
        notes: What to know of it, for comments.
    """

    name: str
    form: str
    columns: Collection[str]
    roles: Mapping[Role, str]
    files: tuple[Path, ...] = ()
    path: Path | None = None
    hub: str = ""
    copied: bool = False
    broken: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def kind(self) -> str:
        """What `datasets` calls the files' type."""
        return KINDS[self.files[0].suffix]


def place(winner: Winner, folder: Path, forms: Collection[str], roles: Mapping[Role, str] | None = None) -> Data:
    """Finds the study's data for another program, and copies it where that must be.

    Args:
        winner: What is exported.
        folder: The export's; a copy goes to `data/` in it.
        forms: The forms that the other program reads.
        roles: The only words for roles that it knows; None when it can be told others.

    Raises:
        SweepError: The data cannot be read any more.
    """
    asked, stage = winner.source["dataset"], winner.config["stage"]
    if asked in ("", *DEFAULT_OF_STAGE.values()):
        return _copy(str(winner.identity["data"]["name"]), read_rows(asked, stage).rows, stage, folder)
    try:
        layout = read_layout(asked, stage)
    except DataError as error:
        raise SweepError(
            f"cannot read the data of study {winner.study!r}, which the export describes: {error}"
        ) from error
    path = Path(os.path.abspath(os.path.expanduser(asked))) if layout.files else None
    name = path.stem if path else asked.rsplit("/", 1)[-1]
    name = name.replace(",", "-")  # LLaMA-Factory takes a list of names with commas
    words_differ = roles is not None and any(layout.roles.get(role, word) != word for role, word in roles.items())
    if layout.form not in forms or words_differ:
        return _copy(name, layout.rows, stage, folder, f"as {'messages' if stage == 'sft' else 'texts'}")
    if not layout.alike:
        return _copy(name, layout.rows, stage, folder, "because some of its rows were mended as they were read")
    if path and not _readable(path, layout.files):
        return _copy(name, layout.rows, stage, folder, "because other programs read files of this kind differently")
    files = tuple(Path(os.path.abspath(file)) for file in layout.files)
    return Data(name, layout.form, layout.columns, layout.roles, files, path, hub="" if path else asked)


def _readable(path: Path, files: Sequence[Path]) -> bool:
    """Whether `datasets` reads these files as they are: of one kind, and alone in their folder."""
    alone = not path.is_dir() or {entry.name for entry in path.iterdir()} == {file.name for file in files}
    kinds = {KINDS.get(file.suffix) for file in files}
    return alone and len(kinds) == 1 and None not in kinds


def _copy(name: str, rows: Sequence[Row], stage: Stage, folder: Path, why: str = "") -> Data:
    file = folder / FOLDER / f"{name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    plain = [{"messages": to_messages(row)} if isinstance(row, Chat) else {"text": row.text} for row in rows]
    file.write_text(json.dumps(plain, ensure_ascii=False), encoding="utf8")
    form = "messages" if stage == "sft" else "text"
    notes = (f"{FOLDER}/{file.name} is the study's data {why}",) if why else ()
    broken = sum(isinstance(row, Chat) and not alternates(row) for row in rows)
    roles = PLAIN_ROLES if form == "messages" else {}
    return Data(name, form, (form,), roles, (file,), file, copied=True, broken=broken, notes=notes)
