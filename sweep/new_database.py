"""A new SQLite database, made while workers load their model, and put in its place whole once they have."""

import contextlib
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from sweep.errors import SweepError
from sweep.storage import open_storage, sqlite_file


def new_database() -> bytes:
    """A database with all tables and no study, as a file holds it; empty where there is no room for one."""
    try:
        with TemporaryDirectory(prefix="lora-sweep-") as folder:
            file = Path(folder) / "new.db"
            open_storage(str(file), create=True).engine.dispose()
            return file.read_bytes()
    except (OSError, SweepError):
        return b""


def put_new(database: bytes, storage: str) -> None:
    """Makes STORAGE's database at once and whole, if it is a SQLite file that is not there.

    Where that cannot be, it is made, or refused, when it is opened.

    Args:
        database: A `new_database`.
        storage: A path or URL.
    """
    file = sqlite_file(storage)
    if not database or file is None or file.exists():
        return
    written = file.with_name(f".{file.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            written.write_bytes(database)
            os.link(written, file)  # fails when another process has made it meanwhile
        finally:
            written.unlink(missing_ok=True)
