"""Processes that are killed, stopped or broken from within, by real signals to real sweeps (`tests.injection`)."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.driver import Driver
from tests.injection import BROKEN, FULL, NAN, OUT_OF_MEMORY, make_injectable

pytestmark = pytest.mark.slow

Curves = dict[int, list[tuple[float, float]]]

# Two trials that are long enough to be met in the middle.
LONG = ("--n-trials", "2", "--max-steps", "40", "--pruner", "none", "--set", "effective_batch_size=16")
# Seconds in which a worker that can act has ended once its coordinator is gone.
SOON = 20
# Longer than the coordinator waits for a worker that it ends.
STOPPED_SECONDS = 4.0


# A device of 256 MiB more than the worker has at its first pass, and a pass that takes 4 MiB a token of it.
SMALL_DEVICE = """
def before_pass(torch, batch):
    import resource
    if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
        with open("/proc/self/statm") as file:
            size = int(file.read().split()[0]) * resource.getpagesize() + (256 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    try:
        torch.empty(batch.tokens << 22, dtype=torch.uint8)
    except RuntimeError:
        with open("refused.txt", "a") as file:
            print(batch.tokens, file=file)
        raise
"""


@pytest.fixture
def injectable(driver: Driver) -> Driver:
    """A driver whose workers take the signals of `tests.injection`."""
    make_injectable(driver.environment, driver.folder / "hook")
    return driver


@pytest.fixture(scope="module")
def uninterrupted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Curves:
    """The curves of the same study when nothing happens to it."""
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    environment = {**os.environ, "LORA_SWEEP_CACHE": str(tiny / "cache"), **quiet}
    driver = Driver(tiny, tmp_path_factory.mktemp("uninterrupted"), environment)
    status, output = driver.run(*driver.sweep_arguments(*LONG))
    assert status == 0, output
    return driver.curves()


def assert_whole(driver: Driver, expected: Curves, numbers: tuple[int, ...] = (0, 1)) -> None:
    """Both trials are complete, once each, with the curves that they would have had."""
    assert driver.query("select number, state from trials order by number") == [(n, "COMPLETE") for n in numbers]
    assert driver.query("pragma integrity_check") == [("ok",)]
    curves = driver.curves()
    assert len(curves) == len(expected)
    for found, wanted in zip(curves.values(), expected.values(), strict=True):
        assert [loss for point in found for loss in point] == pytest.approx(
            [loss for point in wanted for loss in point], abs=1e-4
        )


def failures(driver: Driver) -> list[tuple[int, str, str]]:
    query = "select trial_number, failure, outcome from sweep_failures order by trial_number, failure_number"
    return [(number, failure, outcome) for number, failure, outcome in driver.query(query)]


def test_a_stopped_worker_goes_on_where_it_stood(driver: Driver, uninterrupted: Curves) -> None:
    process = driver.start(*driver.sweep_arguments(*LONG))
    driver.wait_for_line(process, "trial 0", "2 of 5")
    workers = driver.workers_of(process)
    for worker in workers:
        worker.suspend()
    time.sleep(STOPPED_SECONDS)
    for worker in workers:
        worker.resume()
    status, output = driver.finish(process)
    assert status == 0, output
    assert_whole(driver, uninterrupted)
    assert failures(driver) == []


def test_a_stopped_worker_does_not_keep_a_second_ctrl_c_from_ending(driver: Driver, uninterrupted: Curves) -> None:
    process = driver.start(*driver.sweep_arguments(*LONG))
    driver.wait_for_line(process, "trial 0", "2 of 5")
    workers = driver.workers_of(process)
    for worker in workers:
        worker.suspend()
    process.send_signal(signal.SIGTERM)
    driver.wait_for_line(process, "stopping: running trials save")
    process.send_signal(signal.SIGTERM)
    status, output = driver.finish(process)
    assert status == 130, output
    assert driver.wait_until_gone(workers, SOON) == []
    status, output = driver.run(*driver.sweep_arguments(*LONG))
    assert status == 0, output
    assert_whole(driver, uninterrupted)


def test_a_stopped_worker_whose_coordinator_is_killed_ends_once_it_wakes(driver: Driver, uninterrupted: Curves) -> None:
    process = driver.start(*driver.sweep_arguments(*LONG))
    driver.wait_for_line(process, "trial 0", "2 of 5")
    workers = driver.workers_of(process)
    for worker in workers:
        worker.suspend()
    process.kill()
    process.wait()
    for worker in workers:
        worker.resume()
    assert driver.wait_until_gone(workers, SOON) == []
    status, output = driver.run(*driver.sweep_arguments(*LONG))
    assert status == 0, output
    assert_whole(driver, uninterrupted)


def test_a_machine_that_dies_loses_nothing(driver: Driver, uninterrupted: Curves) -> None:
    process = driver.start(*driver.sweep_arguments(*LONG))
    driver.wait_for_line(process, "trial 1", "2 of 5")
    children = psutil.Process(process.pid).children(recursive=True)
    for each in (*children, psutil.Process(process.pid)):
        each.kill()
    process.wait()
    assert driver.wait_until_gone(children, SOON) == []
    (first,) = driver.query("select number, state from trials where state = 'COMPLETE'")
    assert first == (0, "COMPLETE")
    status, output = driver.run(*driver.sweep_arguments(*LONG))
    assert status == 0, output
    assert "1 of 2 done, 1 interrupted: going on with it" in output
    assert_whole(driver, uninterrupted)


def test_what_breaks_once_goes_on_with_the_curve_that_it_would_have_had(
    injectable: Driver, uninterrupted: Curves
) -> None:
    """Memory that is out for one pass is repaired; an unknown error is tried again, on a new worker."""
    process = injectable.start(*injectable.sweep_arguments(*LONG))
    injectable.wait_for_line(process, "trial 0", "1 of 5")
    (worker,) = injectable.workers_of(process)
    worker.send_signal(OUT_OF_MEMORY)
    injectable.wait_for_line(process, "trial 0", "3 of 5")
    worker.send_signal(BROKEN)
    status, output = injectable.finish(process)
    assert status == 0, output
    assert "trial 0: ZeroDivisionError: injected; going on with a new worker" in output
    assert_whole(injectable, uninterrupted)
    assert failures(injectable) == [(0, "unknown", "continued")]
    ((log,),) = injectable.query("select log from sweep_failures")
    assert log.rstrip().endswith("ZeroDivisionError: injected")
    ((memory,),) = injectable.query("select value_json from study_user_attributes where key = 'memory'")
    assert '"tokens": null' not in memory  # the next worker, and the next session, know that it was too much
    assert "broke and went on: unknown 1 (trial 0)" in injectable.run("show", "sft_lora")[1]


def test_a_loss_that_is_no_number_prunes_its_trial_with_the_reason(injectable: Driver) -> None:
    process = injectable.start(*injectable.sweep_arguments(*LONG))
    injectable.wait_for_line(process, "trial 0", "1 of 5")
    (worker,) = injectable.workers_of(process)
    worker.send_signal(NAN)
    status, output = injectable.finish(process)
    assert status == 0, output
    assert injectable.query("select number, state from trials") == [(0, "PRUNED"), (1, "COMPLETE")]
    assert failures(injectable) == [(0, "diverged", "pruned")]


def test_a_disk_that_is_full_for_a_worker_stops_the_sweep_and_the_same_line_goes_on(
    injectable: Driver, uninterrupted: Curves
) -> None:
    process = injectable.start(*injectable.sweep_arguments(*LONG))
    injectable.wait_for_line(process, "trial 0", "2 of 5")
    workers = injectable.workers_of(process)
    workers[0].send_signal(FULL)
    status, output = injectable.finish(process)
    assert status == 1, output
    assert "Traceback" not in output
    assert "sweep: trial 0: OSError: [Errno 28] No space left on device (injected)" in output
    assert injectable.wait_until_gone(workers, SOON) == []
    status, output = injectable.run(*injectable.sweep_arguments(*LONG))
    assert status == 0, output
    assert_whole(injectable, uninterrupted)


def test_a_device_that_is_too_small_is_learnt_once_in_a_study(driver: Driver) -> None:
    """Memory is really out: torch's allocator is refused what a pass takes, beyond a limit of the process."""
    make_injectable(driver.environment, driver.folder / "hook", SMALL_DEVICE)
    short = ("--max-steps", "2", "--pruner", "none", "--set", "effective_batch_size=16")
    refused = []
    for total in (1, 2):
        status, output = driver.run(*driver.sweep_arguments(*short, "--n-trials", str(total)))
        assert status == 0, output
        refused.append((driver.folder / "refused.txt").read_text().split())
    assert driver.query("select state from trials") == [("COMPLETE",), ("COMPLETE",)]
    assert len(refused[0]) > 0, "the device was large enough"
    assert refused[1] == refused[0], "the second session tried again what had not fitted in the first"


def test_sixteen_at_once(driver: Driver) -> None:
    many = ("--n-trials", "32", "--max-steps", "2", "--pruner", "none", "--trials-per-gpu", "16", "--no-advisor")
    process = driver.start(*driver.sweep_arguments(*many))
    read = driver.wait_for_line(process, "trial 15", "started")
    workers = driver.workers_of(process)
    workers[0].kill()
    status, output = driver.finish(process)
    assert status == 0, read + output
    assert "16 trials at once" in read or sum("started" in line for line in read.splitlines()) >= 16
    assert driver.query("select count(*), count(distinct number) from trials where state = 'COMPLETE'") == [(32, 32)]
    assert driver.query("select count(*) from trials") == [(32,)]
    assert {outcome for _, _, outcome in failures(driver)} <= {"continued"}
    assert driver.wait_until_gone(workers, SOON) == []
