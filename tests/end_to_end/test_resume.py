"""What is kept when a sweep is stopped, killed, or loses a worker, and how it goes on."""

import signal
from typing import Any

import psutil
import pytest

from tests.end_to_end.driver import Driver

pytestmark = pytest.mark.slow

# Long enough trials to be interrupted in the middle: 40 steps of 16 rows, 10 evaluations would be too quick to hit.
LONG = ("--n-trials", "3", "--max-steps", "40", "--pruner", "none", "--set", "effective_batch_size=16")


@pytest.fixture(scope="module")
def uninterrupted(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[tuple[float, float]]]:
    """The curves of the same study when nothing happens to it."""
    import os

    environment = {**os.environ, "LORA_SWEEP_CACHE": str(tiny / "cache"), "HF_HUB_OFFLINE": "1"}
    driver = Driver(tiny, tmp_path_factory.mktemp("uninterrupted"), environment)
    status, output = driver.run(*driver.sweep_arguments(*LONG))
    assert status == 0, output
    return driver.curves()


def _assert_same_curves(driver: Driver, expected: dict[int, list[tuple[float, float]]]) -> None:
    curves = driver.curves()
    assert curves.keys() == expected.keys()
    for number, points in expected.items():
        assert len(curves[number]) == len(points)
        for (train, evaluation), (expected_train, expected_evaluation) in zip(curves[number], points, strict=True):
            assert train == pytest.approx(expected_train, abs=1e-5)
            assert evaluation == pytest.approx(expected_evaluation, abs=1e-5)


def _assert_whole(driver: Driver, trials: int) -> None:
    states = driver.query("select number, state from trials order by number")
    assert states == [(number, "COMPLETE") for number in range(trials)]


def test_ctrl_c_saves_and_the_same_line_goes_on_as_if_nothing_had_been(
    driver: Driver, uninterrupted: dict[int, list[tuple[float, float]]]
) -> None:
    process = driver.start(*driver.sweep_arguments(*LONG))
    driver.wait_for_line(process, "trial 1", "2 of 5")
    process.send_signal(signal.SIGINT)
    status, output = driver.finish(process)
    assert status == 130
    assert "1 trial saved, 1 finished. Go on with the same line." in output
    status, output = driver.run(*driver.sweep_arguments(*LONG))
    assert status == 0, output
    assert "1 of 3 done, 1 interrupted: going on with it" in output
    assert "trial 1  resumed" in output
    _assert_whole(driver, 3)
    _assert_same_curves(driver, uninterrupted)


def test_a_second_ctrl_c_stops_at_once_and_loses_no_evaluation(
    driver: Driver, uninterrupted: dict[int, list[tuple[float, float]]]
) -> None:
    process = driver.start(*driver.sweep_arguments(*LONG))
    driver.wait_for_line(process, "trial 0", "1 of 5")
    workers = driver.workers_of(process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    status, output = driver.finish(process)
    assert status == 130, output
    assert not driver.wait_until_gone(workers, 10)
    status, output = driver.run(*driver.sweep_arguments(*LONG))
    assert status == 0, output
    _assert_whole(driver, 3)
    _assert_same_curves(driver, uninterrupted)


def test_a_killed_coordinator_leaves_no_worker_and_loses_nothing(
    driver: Driver, uninterrupted: dict[int, list[tuple[float, float]]]
) -> None:
    process = driver.start(*driver.sweep_arguments(*LONG))
    driver.wait_for_line(process, "trial 1", "3 of 5")
    workers = driver.workers_of(process)
    assert len(workers) == 1
    process.send_signal(signal.SIGKILL)
    assert not driver.wait_until_gone(workers, 10)
    status, output = driver.run(*driver.sweep_arguments(*LONG))
    assert status == 0, output
    assert "1 interrupted: going on with it" in output
    _assert_whole(driver, 3)
    _assert_same_curves(driver, uninterrupted)


def test_a_killed_worker_is_replaced_and_its_trial_goes_on(
    driver: Driver, uninterrupted: dict[int, list[tuple[float, float]]]
) -> None:
    process = driver.start(*driver.sweep_arguments(*LONG))
    read = driver.wait_for_line(process, "trial 1", "2 of 5")
    for worker in driver.workers_of(process):
        worker.send_signal(signal.SIGKILL)
    status, output = driver.finish(process)
    assert status == 0, read + output
    assert "died (signal 9" in output
    assert "going on with a new worker" in output
    _assert_whole(driver, 3)
    _assert_same_curves(driver, uninterrupted)


def test_a_terminated_sweep_saves_too(driver: Driver) -> None:
    process = driver.start(*driver.sweep_arguments(*LONG))
    driver.wait_for_line(process, "trial 0", "1 of 5")
    process.send_signal(signal.SIGTERM)
    status, output = driver.finish(process)
    assert status == 130
    assert "1 trial saved" in output


def test_no_process_is_left_after_a_finished_sweep(driver: Driver) -> None:
    process = driver.start(*driver.sweep_arguments("--n-trials", "1", "--max-steps", "2"))
    driver.wait_for_line(process, "trial 0", "started")
    children = psutil.Process(process.pid).children(recursive=True)
    assert driver.finish(process)[0] == 0
    assert not driver.wait_until_gone(children, 10)


def test_the_total_counts_all_sessions(driver: Driver) -> None:
    short = ("--max-steps", "2", "--pruner", "none")
    assert driver.run(*driver.sweep_arguments("--n-trials", "2", *short))[0] == 0
    status, output = driver.run(*driver.sweep_arguments("--n-trials", "3", *short))
    assert status == 0
    assert "2 of 3 done" in output
    _assert_whole(driver, 3)
    status, output = driver.run(*driver.sweep_arguments("--n-trials", "3", *short))
    assert status == 0
    assert "started" not in output
    _assert_whole(driver, 3)
