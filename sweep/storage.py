"""Opens the database of a sweep: Optuna's tables and our own in one place."""

import os
import re
import sqlite3
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.trial import TrialState
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from sweep.contenders import is_parked
from sweep.errors import SweepError
from sweep.results import metadata

# Seconds between two signs of life of a running trial, and those after which it counts as dead.
HEARTBEAT_SECONDS = 30
GRACE_SECONDS = 120
# Optuna's own tables of trials and of what they reported, as far as a claim and `SweepStorage.marks` need them.
_TRIALS = sqlalchemy.table(
    "trials",
    sqlalchemy.column("trial_id"),
    sqlalchemy.column("study_id"),
    sqlalchemy.column("state"),
    sqlalchemy.column("datetime_start", sqlalchemy.DateTime),
)
_REPORTS = sqlalchemy.table("trial_intermediate_values", sqlalchemy.column("trial_id"))
_UNFINISHED = (TrialState.RUNNING.name, TrialState.WAITING.name)
_MADE = sqlalchemy.select(sqlalchemy.func.count()).where(_REPORTS.c.trial_id == _TRIALS.c.trial_id).scalar_subquery()
_MARKS = sqlalchemy.select(_TRIALS.c.trial_id, _TRIALS.c.state, _MADE).where(
    _TRIALS.c.study_id == sqlalchemy.bindparam("study_id"),
    sqlalchemy.or_(_TRIALS.c.state.in_(_UNFINISHED), _TRIALS.c.trial_id > sqlalchemy.bindparam("after")),
)
# A database's name with a colon or two slashes behind it: a URL with a slash too few or too many, which may hold a
# password, and no file's path.
_NEARLY_URL = re.compile(r"(sqlite|postgres\w*|mysql|mariadb|oracle|mssql|cockroachdb)(\+\w+)?(:|//)", re.IGNORECASE)
_ALLOWED = "a SQLite file like runs/sweep.db, sqlite:///… or postgresql+psycopg://…"
# Seconds that a writer waits for another one's transaction in SQLite.
LOCK_SECONDS = 60


class SweepStorage(optuna.storages.RDBStorage):
    """Optuna's storage, with a waiting trial handed out once.

    RDBStorage reads a trial's state and writes it in two statements. SQLite locks no row in between, so that two
    slots that ask at the same time both get the waiting trial. Here the claim is one conditional update. A parked
    trial waits too, but is handed out only once it is promoted.
    """

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As RDBStorage does; a trial is set running only by the one call that finds it waiting."""
        if state != TrialState.RUNNING:
            return super().set_trial_state_values(trial_id, state, values)
        if is_parked(self.get_trial(trial_id)):
            return False
        claim = (
            sqlalchemy.update(_TRIALS)
            .where(_TRIALS.c.trial_id == trial_id, _TRIALS.c.state == TrialState.WAITING.name)
            .values(state=TrialState.RUNNING.name, datetime_start=datetime.now(UTC).replace(tzinfo=None))
        )
        with self.engine.begin() as connection:
            claimed = connection.execute(claim).rowcount == 1
        if not claimed:
            self.check_trial_is_updatable(trial_id, self.get_trial(trial_id).state)
        return claimed

    def marks(self, study_id: int, after: int) -> list[tuple[int, TrialState, int]]:
        """By what it is known whether a trial has changed: of those that go on or wait, and all that came after one.

        Args:
            study_id: Optuna's.
            after: A trial's id.

        Returns:
            Each trial's id, its state and how much it has reported.
        """
        with self.engine.connect() as connection:
            rows = connection.execute(_MARKS, {"study_id": study_id, "after": after}).all()
        return [(trial_id, TrialState[state], made) for trial_id, state, made in rows]


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if create and _is_sqlite(url):
                _probe_sqlite(url)
            opened = SweepStorage(
                url.render_as_string(hide_password=False),
                engine_kwargs=_engine_options(url),
                heartbeat_interval=HEARTBEAT_SECONDS,
                grace_period=GRACE_SECONDS,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=2),
            )
        if _is_sqlite(url):
            sqlalchemy.event.listen(opened.engine, "connect", _set_pragmas)
            opened.engine.dispose()  # connections from before the pragmas
        metadata.create_all(opened.engine)
    except ImportError as error:
        raise SweepError(
            f"STORAGE {shown(storage)} needs a driver that is not installed "
            "(for PostgreSQL: pip install 'psycopg[binary]')"
        ) from error
    except (SQLAlchemyError, sqlite3.Error, RuntimeError) as error:
        raise SweepError(f"STORAGE {shown(storage)} cannot be opened: {_reason(error)}") from error
    return opened


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
    return {"pool_pre_ping": True, "pool_size": 20}


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


def _reason(error: Exception) -> str:
    """The driver's own words, in one line; they name host and user at most, never a password."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = str(cause).strip() or type(cause).__name__
    return text.splitlines()[0][:200]
