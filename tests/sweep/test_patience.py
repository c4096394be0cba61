"""What is waited for, how long, and what is said of it."""

import sqlite3
from collections.abc import Callable, Iterator

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import IntegrityError, OperationalError, PendingRollbackError, TimeoutError

from sweep import patience
from sweep.errors import SweepError
from sweep.patience import Patience, is_outage, reason, seconds_asked


def sqlite_error(code: int, text: str) -> OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = code
    return OperationalError("insert …", {"url": "postgresql://me:secret@host"}, error)


class Away(Exception):
    """A driver's error."""


AWAY = OperationalError("select 1", {}, Away("connection refused\n\tIs the server running?"))
LOCKED = sqlite_error(sqlite3.SQLITE_BUSY, "database is locked")
STALE = sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT, "database is locked")
FULL = sqlite_error(sqlite3.SQLITE_FULL, "database or disk is full")


def wrapped(error: Exception) -> StorageInternalError:
    made = StorageInternalError("An exception is raised during the commit.")
    made.__cause__ = error
    return made


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(patience, "LONGEST_PAUSE", 0.001)


def failing(*errors: Exception) -> Callable[[], str]:
    left: Iterator[Exception] = iter(errors)

    def action() -> str:
        for error in left:
            raise error
        return "done"

    return action


@pytest.mark.parametrize(
    "error", [AWAY, wrapped(AWAY), LOCKED, STALE, TimeoutError("pool limit"), PendingRollbackError("cut in a commit")]
)
def test_an_outage_is_waited_for(error: Exception) -> None:
    assert is_outage(error)
    assert Patience(60).run(failing(error, error, error)) == "done"


@pytest.mark.parametrize(
    "error", [FULL, wrapped(FULL), IntegrityError("insert", {}, Away("duplicate key")), StorageInternalError("ours")]
)
def test_what_would_fail_again_is_raised_at_once(error: Exception) -> None:
    assert not is_outage(error)
    with pytest.raises(type(error)):
        Patience(60).run(failing(error))


def test_one_that_lasts_too_long_is_raised() -> None:
    with pytest.raises(OperationalError):
        Patience(0.02).run(failing(*[AWAY] * 10_000))


def test_a_second_ctrl_c_ends_the_wait() -> None:
    waits = Patience(60)
    waits.end()
    with pytest.raises(OperationalError):
        waits.run(failing(AWAY))


def test_a_short_one_is_not_worth_a_word_and_a_long_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    said = list[str]()
    waits = Patience(60)
    waits.say = said.append
    waits.run(failing(AWAY))
    assert said == []
    monkeypatch.setattr(patience, "SAY_AFTER", 0.0)
    waits.run(failing(AWAY, AWAY, AWAY))
    assert said == [
        "the database is away, and is tried for 60 s: connection refused Is the server running?",
        "the database is back",
    ]
    assert waits.was_away(60)
    assert not Patience(60).was_away(60)


@pytest.mark.parametrize("error", [FULL, wrapped(FULL)])
def test_a_reason_is_the_drivers_and_has_no_parameters(error: Exception) -> None:
    assert reason(error) == "database or disk is full"


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf"])
def test_seconds_are_a_positive_number(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORA_SWEEP_OUTAGE_SECONDS", text)
    with pytest.raises(SweepError, match=f"LORA_SWEEP_OUTAGE_SECONDS is '{text}'; allowed: seconds above 0"):
        seconds_asked("LORA_SWEEP_OUTAGE_SECONDS", 300)


def test_seconds_have_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LORA_SWEEP_OUTAGE_SECONDS", raising=False)
    assert seconds_asked("LORA_SWEEP_OUTAGE_SECONDS", 300) == 300
    monkeypatch.setenv("LORA_SWEEP_OUTAGE_SECONDS", "1.5")
    assert seconds_asked("LORA_SWEEP_OUTAGE_SECONDS", 300) == 1.5
