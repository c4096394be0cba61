"""Ranges that move to fit the model, and grow, by the real command line."""

import re

import pytest

from tests.end_to_end.driver import Driver

pytestmark = pytest.mark.slow

# All that matters but the learning rate is fixed: on so short a trial, the higher it is, the lower the loss.
FIXED = ("lora_rank=8", "alpha_ratio=2", "lora_target=all", "warmup_ratio=0.1", "effective_batch_size=8")
ONE_KNOB = ("--max-steps", "2", "--pruner", "none", *(word for knob in FIXED for word in ("--set", knob)))


def test_a_range_that_was_moved_and_has_grown_is_the_same_in_a_later_session(driver: Driver) -> None:
    status, output = driver.run(*driver.sweep_arguments(*ONE_KNOB, "--n-trials", "9", "--expand"))
    assert status == 0, output
    assert "note   the guide's learning rates are for models of billions of parameters; yours has" in output
    assert "  learning rates  1e-4..2e-4 moved to 4.4e-3..8.8e-3, for a model of" in output
    assert "the upper edge of 4.4e-3..8.8e-3" in output
    assert "grown to 4.4e-3..0.0264" in output
    grown = re.search(r"learning_rate +(grown from 4.4e-3..8.8e-3 to 4.4e-3..[0-9.]+), after ", output)
    assert grown is not None, output
    status, output = driver.run(*driver.sweep_arguments(*ONE_KNOB, "--n-trials", "11"))
    assert status == 0, output
    assert f"note   learning_rate has {grown[1]}, after " in output
    assert "grown to" not in output  # without --expand it grows no further
    rates = [rate for (rate,) in driver.query("select learning_rate from sweep_trials order by trial_number")]
    assert rates[0] == 4.4e-3
    assert 0.0264 in rates
    assert max(rates[9:]) > 8.8e-3
    status, output = driver.run(*driver.sweep_arguments(*ONE_KNOB, "--n-trials", "12", "--scale-lr", "off"))
    assert status == 2
    assert "learning rates moved by 44 to fit the model, now left as they are (--scale-lr)" in output
    assert "load" not in output
