"""The database is locked, stopped, cut off, full or read-only while a sweep runs: nothing that was recorded is lost."""

import contextlib
import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from optuna.trial import TrialState

from tests.end_to_end.driver import Driver
from tests.end_to_end.test_machines import LONG, SHORT, start, trials, wait_for
from tests.postgres import PASSWORD, Postgres

pytestmark = pytest.mark.slow
# `make test-outages` has them as long as a server's restart may take.
OUTAGE_SECONDS = float(os.environ.get("LORA_SWEEP_TEST_OUTAGE_SECONDS", "4"))
TWO = ("--n-trials", "2", *LONG)


def _assert_whole(storage: str, count: int = 2) -> None:
    found = trials(storage)
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * count
    assert all(list(trial.intermediate_values) == [1, 2, 3, 4, 5] for trial in found)


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A PostgreSQL that a test may stop."""
    made = Postgres()
    try:
        made.start()
        yield made
    finally:
        made.close()


def test_a_locked_file_is_waited_for(driver: Driver, tmp_path: Path) -> None:
    storage = str(tmp_path / "sweep.db")
    process = start(driver, storage, *TWO)
    wait_for(storage, 0, 1)
    with contextlib.closing(sqlite3.connect(storage, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(OUTAGE_SECONDS)
        connection.execute("ROLLBACK")
    status, output = driver.finish(process)
    assert status == 0, output
    _assert_whole(storage)


@pytest.mark.postgres
def test_a_server_that_is_started_again_is_waited_for_and_no_worker_ends(driver: Driver, server: Postgres) -> None:
    process = start(driver, server.url, *TWO)
    wait_for(server.url, 0, 1)
    workers = driver.workers_of(process)
    server.stop()
    said = driver.wait_for_line(process, "the database is away, and is tried for 300 s")
    time.sleep(OUTAGE_SECONDS)
    server.start()
    said += driver.wait_for_line(process, "the database is back")
    assert driver.workers_of(process) == workers
    status, output = driver.finish(process)
    assert status == 0, output
    assert PASSWORD not in said + output
    _assert_whole(server.url)


@pytest.mark.postgres
def test_connections_that_are_cut_are_made_again(driver: Driver, postgres: Postgres, postgres_url: str) -> None:
    process = start(driver, postgres_url, *TWO)
    wait_for(postgres_url, 0, 1)
    name, cut = postgres_url.rpartition("/")[2], 0
    while process.poll() is None:
        with contextlib.suppress(Exception):
            gone = postgres.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            cut += len(gone)
        time.sleep(0.3)
    status, output = driver.finish(process)
    assert status == 0, output
    assert cut > 3
    _assert_whole(postgres_url)


@pytest.mark.postgres
def test_a_server_that_stays_away_ends_the_sweep_with_one_line_and_the_same_line_goes_on(
    driver: Driver, server: Postgres
) -> None:
    process = start(driver, server.url, *TWO, LORA_SWEEP_OUTAGE_SECONDS="3")
    wait_for(server.url, 0, 2)
    workers = driver.workers_of(process)
    server.stop()
    status, output = driver.finish(process)
    assert status == 1, output
    assert "sweep: disk or database failed in the middle of the sweep: " in output
    assert "once that is mended, the same line goes on" in output
    assert "Traceback" not in output
    assert PASSWORD not in output
    assert not driver.wait_until_gone(workers, 10)
    server.start()
    assert trials(server.url)[0].state == TrialState.RUNNING
    status, output = driver.finish(start(driver, server.url, *TWO))
    assert status == 0, output
    assert "trial 0  resumed" in output
    _assert_whole(server.url)


@pytest.mark.postgres
def test_a_server_that_is_not_there_is_told_before_anything_is_loaded(driver: Driver) -> None:
    status, output = driver.finish(start(driver, f"postgresql://me:{PASSWORD}@127.0.0.1:9/db", *TWO))
    assert status == 2
    assert len(output.splitlines()) == 1
    assert "postgresql+psycopg://me:***@127.0.0.1:9/db cannot be opened: connection" in output
    assert PASSWORD not in output


@pytest.mark.postgres
def test_no_file_and_no_process_of_a_sweep_has_the_password(
    driver: Driver, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(driver, postgres_url, *TWO, MAKEFLAGS=f" -- STORAGE={postgres_url}", PGPASSWORD=PASSWORD)
    wait_for(postgres_url, 0, 1)
    workers = [child for child in psutil.Process(process.pid).children(recursive=True) if child.is_running()]
    assert workers
    for worker in workers:
        assert PASSWORD not in " ".join(worker.cmdline())
        assert PASSWORD not in str(worker.environ())
    assert PASSWORD not in " ".join(psutil.Process(process.pid).cmdline())
    status, output = driver.finish(process)
    assert status == 0, output
    assert PASSWORD not in output
    for command in (("show", "sft_lora"), ("list",), ("export", "sft_lora")):
        there = Driver(driver.tiny, driver.folder, {**driver.environment, "STORAGE": postgres_url})
        status, output = there.run(*command)
        assert status == 0, output
        assert PASSWORD not in output
    for file in driver.folder.rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file


def test_a_full_disk_at_a_commit_loses_nothing_that_was_recorded(driver: Driver, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if psutil.Process().uids().effective != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can be mounted by root alone")
    storage = str(folder / "sweep.db")
    try:
        process = start(driver, storage, *TWO)
        wait_for(storage, 0, 1)
        with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(4096))
        status, output = driver.finish(process)
        assert status == 1, output
        assert "disk or database failed in the middle of the sweep" in output
        assert "Traceback" not in output
        (folder / "filler").unlink()
        with contextlib.closing(sqlite3.connect(storage)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        recorded = trials(storage)[0].intermediate_values
        assert recorded
        status, output = driver.finish(start(driver, storage, *TWO))
        assert status == 0, output
        found = trials(storage)
        assert sum(trial.state == TrialState.COMPLETE for trial in found) == 2
        assert recorded.items() <= found[0].intermediate_values.items()
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_sixteen_slots_at_once_share_a_file(driver: Driver, tmp_path: Path) -> None:
    storage = str(tmp_path / "sweep.db")
    status, output = driver.finish(start(driver, storage, "--n-trials", "20", "--trials-per-gpu", "16", *SHORT))
    assert status == 0, output
    found = trials(storage)
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 20


def test_a_folder_that_can_only_be_read_is_refused(driver: Driver, tmp_path: Path) -> None:
    folder = tmp_path / "fixed"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder)]
    if psutil.Process().uids().effective != 0:
        folder.chmod(0o555)
    elif subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("root writes everywhere, and nothing can be mounted here")
    try:
        status, output = driver.finish(start(driver, str(folder / "sweep.db"), *TWO))
        assert status == 2, output
        assert "STORAGE" in output
        assert "cannot be made" in output
        assert len(output.splitlines()) == 1
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)
