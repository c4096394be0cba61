"""At which steps a run is evaluated, and where a schedule's own steps fall."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.schedule import decay_steps, report_steps, step_decay


def test_equal_fractions_of_the_horizon() -> None:
    assert report_steps(100, 5) == [20, 40, 60, 80, 100]
    assert report_steps(10, 4) == [3, 5, 8, 10]


def test_fewer_steps_than_evaluations_are_each_evaluated() -> None:
    assert report_steps(3, 10) == [1, 2, 3]


@given(st.integers(1, 1_000_000), st.integers(1, 60))
def test_they_rise_to_the_last_step_and_are_as_many_as_asked(total: int, evaluations: int) -> None:
    steps = report_steps(total, evaluations)
    assert len(steps) == min(total, evaluations)
    assert steps[0] >= 1
    assert steps[-1] == total
    assert all(later > earlier for earlier, later in itertools.pairwise(steps))


# --- step decay (guide 3.1)


def test_a_full_run_drops_every_thousand_steps_after_its_warm_up() -> None:
    rates = [step_decay(step, 500, 20_000) for step in (0, 250, 500, 1499, 1500, 2500)]
    assert rates == pytest.approx([0, 0.5, 1, 1, 0.9, 0.81])


@pytest.mark.parametrize("total", [10, 30, 70, 1000, 9990])
def test_a_shorter_run_has_its_ten_drops_as_well(total: int) -> None:
    rates = [step_decay(step, 0, total) for step in range(total)]
    assert rates == pytest.approx([0.9 ** (10 * step // total) for step in range(total)])
    assert len(set(rates)) == 10


@given(st.integers(1, 30_000), st.floats(0, 0.99))
def test_it_never_rises_again(total: int, ratio: float) -> None:
    warmup = int(ratio * total)
    rates = [step_decay(step, warmup, total) for step in range(warmup, total, max(1, total // 50))]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] == 1
    assert rates[-1] > 0


def test_warm_up_leaves_what_it_can_to_the_decay() -> None:
    assert [decay_steps(0, 8), decay_steps(2, 10), decay_steps(9, 10), decay_steps(10, 10)] == [2, 2, 1, 0]
