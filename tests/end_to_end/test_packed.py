"""Several trials in one worker's passes: the curves that each has alone, also after the worker is killed or stopped."""

import signal
from typing import Any

import psutil
import pytest

from tests.end_to_end.driver import Driver

pytestmark = pytest.mark.slow

# As many trials as a search draws by chance, whose settings do not depend on how many run at once.
FOUR = ("--n-trials", "4", "--max-steps", "20", "--pruner", "none", "--no-advisor")


@pytest.fixture(scope="module")
def alone(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[tuple[float, float]]]:
    """The curves of the trials when one runs at a time."""
    import os

    environment = {**os.environ, "LORA_SWEEP_CACHE": str(tiny / "cache"), "HF_HUB_OFFLINE": "1"}
    driver = Driver(tiny, tmp_path_factory.mktemp("alone"), environment)
    status, output = driver.run(*driver.sweep_arguments(*FOUR, "--trials-per-gpu", "1"))
    assert status == 0, output
    return driver.curves()


def assert_same(driver: Driver, wanted: dict[int, list[tuple[float, float]]]) -> None:
    found = driver.curves()
    assert found.keys() == wanted.keys()
    for number, points in wanted.items():
        for point, other in zip(found[number], points, strict=True):
            assert point == pytest.approx(other, rel=0, abs=1e-5)


def test_trials_that_share_passes_have_the_curves_that_they_have_alone(
    driver: Driver, alone: dict[int, list[tuple[float, float]]]
) -> None:
    status, output = driver.run(*driver.sweep_arguments(*FOUR, "--trials-per-gpu", "4"))
    assert status == 0, output
    assert "4 trials at once" in output
    assert_same(driver, alone)


def test_every_trial_of_a_killed_worker_goes_on(driver: Driver, alone: dict[int, list[tuple[float, float]]]) -> None:
    process = driver.start(*driver.sweep_arguments(*FOUR, "--trials-per-gpu", "4"))
    read = driver.wait_for_line(process, "2 of 5")
    for worker in driver.workers_of(process):
        worker.send_signal(signal.SIGKILL)
    status, output = driver.finish(process)
    assert status == 0, read + output
    assert output.count("going on with a new worker") >= 2
    assert_same(driver, alone)


def test_a_stop_saves_every_trial_and_the_same_line_goes_on(
    driver: Driver, alone: dict[int, list[tuple[float, float]]]
) -> None:
    process = driver.start(*driver.sweep_arguments(*FOUR, "--trials-per-gpu", "4"))
    driver.wait_for_line(process, "1 of 5")
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    status, output = driver.finish(process)
    assert status == 130, output
    assert "trials saved" in output
    assert not driver.wait_until_gone(children, 10)
    status, output = driver.run(*driver.sweep_arguments(*FOUR, "--trials-per-gpu", "4"))
    assert status == 0, output
    assert_same(driver, alone)
