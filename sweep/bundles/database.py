"""A study's database as a bundle has it, a SQLite file of that one study; and a consistent view of a live one."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError

from sweep.bundles.rows import OPTUNAS, Left, copy_study, left_by_trials, study_id
from sweep.errors import SweepError
from sweep.storage import open_storage
from sweep.study import IDENTITY, Identity, load_study
from sweep.trial_files import study_folder

# What reading a database that somebody made up can come to: Optuna checks little of what it reads.
_UNREADABLE = (
    SweepError,
    SQLAlchemyError,
    sqlite3.Error,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    RuntimeError,
    OverflowError,
    optuna.exceptions.OptunaError,
)


@contextmanager
def frozen_view(storage: RDBStorage, folder: Path) -> Iterator[Connection]:
    """A connection that sees a live database as it is now, however long it reads.

    Of SQLite that is a copy by the backup API, so that no writer waits for the reader; of PostgreSQL a transaction
    that reads one snapshot.

    Args:
        storage: The live database.
        folder: Where the copy goes meanwhile.
    """
    if storage.engine.dialect.name != "sqlite":
        snapshot = storage.engine.connect().execution_options(isolation_level="REPEATABLE READ")
        with snapshot as connection, connection.begin():
            yield connection
        return
    copy = folder / "live.db"
    copy.unlink(missing_ok=True)
    with closing(storage.engine.raw_connection()) as live, closing(sqlite3.connect(copy)) as target:
        driver = live.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")
    with _reading(copy) as connection:
        yield connection
    copy.unlink()


def _engine(path: Path) -> sa.Engine:
    return sa.create_engine(sa.URL.create("sqlite", database=str(path)))


@contextmanager
def _reading(path: Path) -> Iterator[Connection]:
    engine = _engine(path)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def new_database(path: Path) -> Iterator[Connection]:
    """Makes a bundle's database; what is written through the connection is in it as a whole, in one file."""
    # Making the tables takes most of a second, and a pack makes several databases.
    empty = path.with_name("empty.db")
    if not empty.exists():
        open_storage(str(empty), create=True).engine.dispose()
        with closing(sqlite3.connect(empty)) as raw:
            raw.execute("PRAGMA journal_mode=DELETE")
    shutil.copyfile(empty, path)
    engine = _engine(path)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def take(storage: RDBStorage, name: str, path: Path) -> list[Left]:
    """Copies one study of a live database into a new file; what its trials had left elsewhere at that time."""
    with frozen_view(storage, path.parent) as source, new_database(path) as target:
        copy_study(source, target, name, name, study_folder(Path(), name).as_posix())
        return left_by_trials(source, name)


@contextmanager
def opened_database(path: Path, name: str, bundle: Path) -> Iterator[RDBStorage]:
    """Opens what a bundle's unpacked database has of its study, once all of it can be read and written.

    What is opened is a copy with our own tables: whatever else the file may hold stays behind.

    Args:
        path: The file, which nobody else uses.
        name: The study that must be in it, and no other.
        bundle: What is named in errors.

    Raises:
        SweepError: It is no database of one study of this program.
    """
    storage: RDBStorage | None = None
    try:
        try:
            _check_schema(path)
            clean = path.with_name("clean.db")
            with _reading(path) as source, new_database(clean) as target:
                if study_id(source, name) is None:
                    raise SweepError(f"it does not hold the study {name[:100]!r}")
                copy_study(source, target, name, name, study_folder(Path(), name).as_posix())
            storage = open_storage(str(clean), create=False)
            _check_study(storage, name)
        except RecursionError as error:
            raise SweepError(f"{bundle} is damaged: its database nests too deep") from error
        except _UNREADABLE as error:
            told = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise SweepError(f"{bundle} is damaged: its database cannot be read: {told}") from error
        yield storage
    finally:
        if storage is not None:
            storage.engine.dispose()


def _check_schema(path: Path) -> None:
    """Refuses a file in which there is more than tables and their indexes: a trigger or a view runs when it is used."""
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("PRAGMA trusted_schema=OFF")
        if raw.execute("PRAGMA quick_check").fetchone() != ("ok",):
            raise SweepError("it is corrupt")
        tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if missing := sorted(set(OPTUNAS) - tables):
            raise SweepError(f"it has no table {missing[0]}")
        more = raw.execute("SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index')").fetchone()
        if more is not None:
            raise SweepError(f"it has a {more[0]}, which none of ours has")


def _check_study(storage: RDBStorage, name: str) -> None:
    """Reads all that Optuna has; what our own tables have was read as it was copied."""
    study = load_study(storage, name)
    trials = study.get_trials(deepcopy=False)
    if [trial.number for trial in trials] != list(range(len(trials))):
        raise SweepError("its trials are not numbered from 0 on")
    if not isinstance(study.user_attrs.get(IDENTITY), dict):
        raise SweepError("its study was not made by this program")


def identity_of(study: optuna.Study) -> Identity | None:
    """What a study is of; None where it was imported, or what is stored is another version's."""
    try:
        return Identity(**study.user_attrs[IDENTITY])
    except (KeyError, TypeError):
        return None
