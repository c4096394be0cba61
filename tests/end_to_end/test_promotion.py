"""Trials that are parked and taken up again, by real workers."""

import signal

import pytest

from tests.end_to_end.driver import Driver

pytestmark = pytest.mark.slow

# The best rate first, so that those that come after it are parked or condemned.
RATES = "learning_rate=1e-2,3e-3,1.2e-2,8e-3"
GRID = ("--design", "factorial", "--over", "learning_rate", "--seeds", "1", "--set", RATES)
SMALL = (*GRID, "--set", "effective_batch_size=8", "--set", "lora_rank=8")


def test_a_trial_that_was_parked_has_the_curve_of_one_that_never_stopped(driver: Driver) -> None:
    status, output = driver.run(*driver.sweep_arguments(*SMALL, "--study", "whole"))
    assert status == 0, output
    # Every trial that would be stopped for others runs on in the end: all have whole curves.
    status, output = driver.run(
        *driver.sweep_arguments(*SMALL, "--study", "parked", "--pruner", "promote", "--audit", "1")
    )
    assert status == 0, output
    assert "parked" in output
    assert "resumed" in output
    assert " ran to the end, " in output
    assert driver.curves("parked") == driver.curves("whole")


def test_parked_trials_outlive_their_session(driver: Driver) -> None:
    search = ("--n-trials", "5", "--set", "learning_rate=1e-3..3e-2", "--set", "effective_batch_size=8", "--no-advisor")
    process = driver.start(*driver.sweep_arguments(*search))
    read = driver.wait_for_line(process, "parked")
    process.send_signal(signal.SIGINT)
    status, output = driver.finish(process)
    assert status == 130, read + output
    assert driver.query("select count(*) from sweep_trials where state = 'parked'")[0][0] >= 1
    status, output = driver.run(*driver.sweep_arguments(*search))
    assert status == 0, output
    assert " parked   " in output
    assert driver.query("select state, count(*) from trials where state not in ('COMPLETE', 'PRUNED') group by 1") == []
    assert driver.query("select count(*) from trials") == [(5,)]
