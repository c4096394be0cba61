"""What tests of sweeps on a cluster's engine look at."""

import time
from collections.abc import Callable

import psutil
import pytest

from tests.end_to_end.driver import PATIENCE_SECONDS, Driver

# Trials that are long enough to lose their worker in the middle.
TRIALS = ("--n-trials", "2", "--max-steps", "300", "--pruner", "none", "--set", "effective_batch_size=16")


def wait_until(true: Callable[[], object]) -> None:
    """Waits for something that must come."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def assert_uninterrupted(driver: Driver) -> None:
    """The study has every trial once, each with the curve that it has when nothing happens to it."""
    curves = driver.curves()
    states = driver.query("select number, state from trials order by number")
    assert states == [(0, "COMPLETE"), (1, "COMPLETE")]
    status, output = driver.run(*driver.sweep_arguments(*TRIALS, "--study", "undisturbed"))
    assert status == 0, output
    undisturbed = driver.curves("undisturbed")
    assert curves.keys() == undisturbed.keys()
    for number, points in undisturbed.items():
        assert [each for point in curves[number] for each in point] == pytest.approx(
            [each for point in points for each in point], abs=1e-5
        )


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that run."""
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
