"""Waits for a database that is away for a while: a server that starts again, a cut connection, a locked file."""

import functools
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import (
    DBAPIError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
    SQLAlchemyError,
    TimeoutError,
)

from sweep.errors import SweepError

# Seconds that an outage may last. Long enough for a server that is restarted, or whose standby takes over.
OUTAGE_SECONDS = 300.0
# Seconds between two tries: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
# Seconds after which an outage is worth a word.
SAY_AFTER = 2.0

Given = ParamSpec("Given")
Result = TypeVar("Result")
FAULTS = (SQLAlchemyError, StorageInternalError)


class Patience:
    """Tries again while a database is away. Threads share it, so that an outage is one for all of them.

    Attributes:
        seconds: How long an outage may last.
        say: Takes what the user should know of an outage.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.seconds = seconds_asked("LORA_SWEEP_OUTAGE_SECONDS", OUTAGE_SECONDS) if seconds is None else seconds
        self.say: Callable[[str], None] = lambda _line: None
        self._lock = threading.Lock()
        self._since: float | None = None
        self._last: float | None = None
        self._told = False
        self._ended = threading.Event()

    def __reduce__(self) -> tuple[Any, ...]:
        """As a storage travels to another process: what has happened here stays here."""
        return Patience, (self.seconds,)

    def run(self, action: Callable[[], Result]) -> Result:
        """Does something until the database lets it; it must do no harm when it is done twice.

        Raises:
            SQLAlchemyError: It is no outage, or lasts too long. As StorageInternalError where Optuna has wrapped it.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                result = action()
            except FAULTS as error:
                if not is_outage(error) or not self._wait(pause, error):
                    raise
                pause = min(2 * pause, LONGEST_PAUSE)
            else:
                self._back()
                return result

    def note(self) -> None:
        """Takes note of an outage that somebody else has met."""
        self._last = time.monotonic()

    def was_away(self, within: float) -> bool:
        """Whether there was an outage in the last so many seconds."""
        return self._last is not None and time.monotonic() - self._last < within

    def end(self) -> None:
        """Waits no more: the user wants to stop now."""
        self._ended.set()

    def _wait(self, pause: float, error: Exception) -> bool:
        """Waits a while; False when it has lasted too long."""
        self.note()
        with self._lock:
            now = time.monotonic()
            if self._since is None:
                self._since = now
            lasts = now - self._since
            if lasts >= self.seconds or self._ended.is_set():
                return False
            first = lasts >= min(SAY_AFTER, self.seconds / 2) and not self._told
            self._told = self._told or first
        if first:
            self.say(f"the database is away, and is tried for {self.seconds:.0f} s: {reason(error)}")
        # Many coordinators that wait for one server must not all come at once.
        self._ended.wait(pause * random.uniform(0.5, 1.5))
        return True

    def _back(self) -> None:
        if self._since is None:
            return
        self.note()
        with self._lock:
            told, self._since, self._told = self._told, None, False
        if told:
            self.say("the database is back")


def patient(method: Callable[Given, Result]) -> Callable[Given, Result]:
    """Makes a method that reads or writes a database wait for it, by its object's `patience`."""

    @functools.wraps(method)
    def waits(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        patience: Patience = args[0].patience  # type: ignore[attr-defined]
        return patience.run(lambda: method(*args, **kwargs))

    return waits


def is_outage(error: BaseException) -> bool:
    """Whether the same again may succeed later: the server or its connection is gone, or a file is locked."""
    if isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, (TimeoutError, PendingRollbackError)):
        return True  # every connection of the pool is in use; or one was cut in the middle of a commit
    if not isinstance(error, DBAPIError):
        return False
    if isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # the kind, without what it says beside
        return code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
    return error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError))


def reason(error: BaseException) -> str:
    """The driver's own words, in one line; they name host and user at most, never a password."""
    while error.__cause__ is not None and not isinstance(error, DBAPIError):
        error = error.__cause__
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    text = " ".join(str(cause).split()) or type(cause).__name__
    return text[:200]


def seconds_asked(variable: str, default: float) -> float:
    """A number of seconds that the environment may set otherwise.

    Raises:
        SweepError: It is no positive number.
    """
    text = os.environ.get(variable, "")
    try:
        seconds = float(text) if text else default
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise SweepError(f"{variable} is {text!r}; allowed: seconds above 0")
    return seconds
