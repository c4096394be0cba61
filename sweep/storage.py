"""Opens the database of a sweep: Optuna's tables and our own in one place."""

import os
import random
import re
import sqlite3
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError

from sweep.errors import SweepError
from sweep.patience import reason, seconds_asked
from sweep.results import metadata
from sweep.sweep_storage import SweepStorage

# Seconds between two signs of life of a running trial, and those after which it counts as dead.
HEARTBEAT_SECONDS = 30
GRACE_SECONDS = 120
# Times that tables are made when another process makes them at the same time, and the most seconds between two.
MAKING_TRIES, MAKING_PAUSE = 12, 0.5
# A database's name with a colon or two slashes behind it: a URL with a slash too few or too many, which may hold a
# password, and no file's path.
_NEARLY_URL = re.compile(r"(sqlite|postgres\w*|mysql|mariadb|oracle|mssql|cockroachdb)(\+\w+)?(:|//)", re.IGNORECASE)
_ALLOWED = "a SQLite file like runs/sweep.db, sqlite:///… or postgresql+psycopg://…"
# Seconds that a writer waits for another one's transaction in SQLite.
LOCK_SECONDS = 60


def parse_url(storage: str) -> URL:
    """Turns STORAGE into a database address; a plain path is a SQLite file.

    Raises:
        SweepError: It is neither, or a database in memory. What was given is not told, as it may hold a password.
    """
    if not storage:
        raise SweepError("STORAGE is empty; allowed: a SQLite file like runs/sweep.db, or a URL like sqlite:///…")
    if not storage.isprintable():
        raise SweepError(f"STORAGE has a line end or another character that cannot be shown; allowed: {_ALLOWED}")
    if "://" not in storage:
        if _NEARLY_URL.match(storage):
            raise SweepError(f"STORAGE is nearly a database URL, which has :// in it; allowed: {_ALLOWED}")
        return URL.create("sqlite", database=os.path.expanduser(storage))  # Path's raises for a user that there is not
    # What hosts print, and PostgreSQL's own tools take.
    for scheme in ("postgres://", "postgresql://"):
        if storage.startswith(scheme):
            storage = f"postgresql+psycopg://{storage.removeprefix(scheme)}"
    try:
        url = sqlalchemy.make_url(storage)
    except (ArgumentError, ValueError) as error:
        raise SweepError(f"STORAGE is no database URL; allowed: {_ALLOWED}") from error
    if not _is_sqlite(url) and storage.count("@") > 1:  # nobody knows where its password ends
        raise SweepError("STORAGE has more than one @: write that of a user, a password or an option as %40")
    if _is_sqlite(url) and (not url.database or ":memory:" in url.database):
        raise SweepError("STORAGE is a database in memory, which each thread would have its own of; allowed: a file")
    return url


def shown(storage: str) -> str:
    """The address for people, without its password, which a URL may hold among its options too."""
    url = parse_url(storage)
    return str(url.database) if _is_sqlite(url) else url.set(query={}).render_as_string(hide_password=True)


def sqlite_file(storage: str) -> Path | None:
    """The file of STORAGE; None for a server, and for a `file:` address with options."""
    return _sqlite_file(parse_url(storage))


def database_exists(storage: str) -> bool:
    """Whether there can be studies: a SQLite file that is not there has none; a server is taken to be there."""
    file = _sqlite_file(parse_url(storage))
    return file is None or os.path.exists(file)


def check_storage(storage: str) -> None:
    """Finds out whether a sweep could write there, without making the database when it is not there yet.

    Raises:
        SweepError: The database cannot be opened or written.
    """
    url = parse_url(storage)
    file = _sqlite_file(url)
    if file is None or os.path.exists(file):
        open_storage(storage, create=True).engine.dispose()
        return
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    try:
        probe = folder / f".{file.name}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise SweepError(f"STORAGE {shown(storage)} cannot be made: {error.strerror} ({folder})") from error


def open_storage(storage: str, *, create: bool) -> SweepStorage:
    """Opens the database, with Optuna's tables and our own in it.

    SQLite is set to write-ahead logging with `synchronous=NORMAL` on every connection: five to ten times the
    trials a second, and no commit is lost when a process is killed. The tables are made here, before anything
    runs in parallel.

    Args:
        storage: A path or URL.
        create: Whether a SQLite file that is not there is made, and one that cannot be written refused; without it
            a file that can only be read will do.

    Raises:
        SweepError: The database cannot be opened or written.
    """
    url = parse_url(storage)
    file = _sqlite_file(url)
    if file is not None:
        if not create and not os.path.exists(file):
            raise SweepError(f"no study database at {shown(storage)}: run a sweep first, or name another STORAGE")
        if create:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise SweepError(f"STORAGE {shown(storage)} cannot be made: {error.strerror}") from error
    try:
        if create and _is_sqlite(url):
            _probe_sqlite(url)
        return _made(url)
    except ImportError as error:
        raise SweepError(
            f"STORAGE {shown(storage)} needs a driver that is not installed; "
            "for PostgreSQL: pip install 'lora-sweep[postgres]', or in this folder pip install -e '.[postgres]'"
        ) from error
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, sqlite3.Error, RuntimeError) as error:
        raise SweepError(f"STORAGE {shown(storage)} cannot be opened: {reason(error)}") from error


def _made(url: URL) -> SweepStorage:
    """Opens the database and makes the tables that it lacks; again when another process makes them just now."""
    for left in reversed(range(MAKING_TRIES)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                opened = SweepStorage(
                    # Optuna fills in what stands in braces.
                    url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}"),
                    engine_kwargs=_engine_options(url),
                    heartbeat_interval=seconds_asked("LORA_SWEEP_HEARTBEAT_SECONDS", HEARTBEAT_SECONDS),
                    grace_period=seconds_asked("LORA_SWEEP_GRACE_SECONDS", GRACE_SECONDS),
                )
            sqlalchemy.event.listen(opened.engine, "connect", _set_pragmas if _is_sqlite(url) else _set_time_zone)
            opened.engine.dispose()  # connections from before that
            metadata.create_all(opened.engine)
            return opened
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
            if not left or not _is_being_made(error):
                raise
            time.sleep(MAKING_PAUSE * random.random())
    raise AssertionError("the last try returns or raises")


def _is_being_made(error: BaseException) -> bool:
    """Whether a table, or a row of Optuna's version tables, was made by another process meanwhile."""
    while error.__cause__ is not None and not isinstance(error, SQLAlchemyError):
        error = error.__cause__
    words = ("already exists", "duplicate key", "unique constraint", "database is locked", "no such table")
    kinds = (IntegrityError, OperationalError, ProgrammingError)
    return isinstance(error, kinds) and any(word in str(error.orig).lower() for word in words)


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite address; None for another database, and for a `file:` one with options."""
    if not _is_sqlite(url) or not url.database or url.database.startswith("file:"):
        return None
    return Path(url.database)


def _engine_options(url: URL) -> dict[str, Any]:
    if _is_sqlite(url):
        return {"connect_args": {"timeout": LOCK_SECONDS}}
    # A few connections stay; more are opened when many slots report at once, since a server has a hundred for all.
    options: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 4, "max_overflow": 28}
    if url.get_backend_name() == "postgresql":
        options["connect_args"] = {key: value for key, value in _LIVELY.items() if key not in url.query}
    return options


# So that a server that vanished without a word is noticed after a minute and not after hours (libpq's words, seconds).
_LIVELY = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}


def _probe_sqlite(url: URL) -> None:
    """Fails now, and not at the first report, when the file cannot be written."""
    engine = sqlalchemy.create_engine(url, connect_args={"timeout": LOCK_SECONDS})
    with engine.connect() as connection:
        raw = connection.connection.cursor()
        raw.execute("BEGIN IMMEDIATE")
        # In a file that can only be read, BEGIN IMMEDIATE succeeds; a change does not.
        raw.execute("CREATE TABLE sweep_probe (x INTEGER)")
        raw.execute("ROLLBACK")
    engine.dispose()


def _set_pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _set_time_zone(connection: Any, _record: object) -> None:
    """Optuna keeps signs of life in a connection's own time, which machines may have different ones of."""
    if connection.__class__.__module__.startswith("psycopg"):
        with connection.cursor() as cursor:
            cursor.execute("SET TIME ZONE 'UTC'")
        connection.commit()
