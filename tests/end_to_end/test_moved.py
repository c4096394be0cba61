"""A sweep that is packed while it runs and after Ctrl-C, and goes on in another folder and database."""

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.driver import Driver

pytestmark = pytest.mark.slow

LONG = ("--n-trials", "2", "--max-steps", "40", "--pruner", "none", "--set", "effective_batch_size=16")


def _there(driver: Driver, folder: Path) -> Driver:
    folder.mkdir()
    return Driver(driver.tiny, folder, driver.environment, driver.processes)


def _same_curves(found: dict[int, list[tuple[float, float]]], expected: Any) -> None:
    assert found.keys() == expected.keys()
    for number, points in expected.items():
        assert found[number] == [pytest.approx(point, abs=1e-5) for point in points]


def test_it_goes_on_elsewhere_as_if_nothing_had_been(driver: Driver, tmp_path: Path) -> None:
    process = driver.start(*driver.sweep_arguments(*LONG))
    driver.wait_for_line(process, "trial 1", "2 of 5")
    # While it runs: stopped by no more than a signal, so that the trial is in the middle for certain.
    process.send_signal(signal.SIGSTOP)
    status, output = driver.run("pack", "sft_lora", "-o", str(tmp_path / "live.tar"))
    process.send_signal(signal.SIGCONT)
    assert status == 0, output
    status, output = driver.finish(process)
    assert status == 0, output
    expected = driver.curves()
    there = _there(driver, tmp_path / "there")
    storage = ("--storage", "elsewhere/other.db", "--output", "elsewhere/out")
    status, output = there.run("unpack", str(tmp_path / "live.tar"), *storage)
    assert status == 0, output
    assert "2 trials (1 complete, 1 waiting)" in output
    status, output = there.run(*there.sweep_arguments(*LONG, *storage))
    assert status == 0, output
    assert "1 of 2 done, 1 interrupted: going on with it" in output
    assert "trial 1  resumed" in output
    states = there.query("select number, state from trials order by number", "elsewhere/other.db")
    assert states == [(0, "COMPLETE"), (1, "COMPLETE")]
    curves: dict[int, list[tuple[float, float]]] = {}
    rows = there.query(
        "select trial_number, train_loss, eval_loss from sweep_reports order by trial_number, evaluation",
        "elsewhere/other.db",
    )
    for number, train, evaluation in rows:
        curves.setdefault(number, []).append((train, evaluation))
    _same_curves(curves, expected)


def test_errors_are_a_line_and_status_2(driver: Driver, tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("no tar")
    for arguments, told in (
        (("unpack", "text.tar"), "text.tar is no bundle of this program"),
        (("unpack", "missing.tar"), "no bundle at missing.tar"),
        (("pack", "sft_lora"), "no study database at runs/sweep.db"),
    ):
        status, output = driver.run(*arguments)
        assert (status, output.count("\n")) == (2, 1), output
        assert told in output
