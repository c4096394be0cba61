"""Faults of disk and database are told in words, and leave the tables consistent."""

import sqlite3

import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import OperationalError

from sweep.errors import EnvironmentFault, SweepError
from sweep.faults import explained
from sweep.results import Results
from sweep.storage import open_storage
from trials.config import TrialConfig

FULL = OperationalError("insert …", {}, sqlite3.OperationalError("database or disk is full"))


def _wrapped() -> StorageInternalError:
    error = StorageInternalError("An exception is raised during the commit.")
    error.__cause__ = FULL
    return error


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (FULL, "database or disk is full"),
        (_wrapped(), "database or disk is full"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_a_fault_says_what_failed_and_that_the_same_line_goes_on(fault: Exception, words: str) -> None:
    with pytest.raises(EnvironmentFault, match="the same line goes on") as told, explained("runs/sweep.db"):
        raise fault
    assert words in str(told.value)
    assert len(str(told.value).splitlines()) == 2


def test_a_fault_tells_no_password() -> None:
    with pytest.raises(EnvironmentFault) as told, explained("postgresql+psycopg://me:secret@host/db"):
        raise FULL
    assert "secret" not in str(told.value)


def test_other_errors_pass() -> None:
    with pytest.raises(SweepError), explained("runs/sweep.db"):
        raise SweepError("trial after trial failed")


def test_a_trial_that_failed_unrecorded_is_closed_later(tmp_path: object) -> None:
    results = Results(open_storage(f"{tmp_path}/sweep.db", create=True).engine, "study")
    for number in range(3):
        results.start_trial(number, TrialConfig(), {}, f"{number}", 10)
    results.end_trial(2, "complete", value=2.0)
    results.close_failed([0])
    assert [row["state"] for row in results.trials()] == ["failed", "running", "complete"]
    results.close_failed([0, 2])  # which another machine had before its end here was told
    assert [row["state"] for row in results.trials()] == ["failed", "running", "failed"]
