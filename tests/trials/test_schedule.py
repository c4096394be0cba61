"""At which steps a run is evaluated, where a schedule's own steps fall, and how much is learnt by when."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.config import SCHEDULERS
from trials.schedule import decay_steps, learning_progress, rate_share, report_steps, step_decay, warmup_steps


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


# --- progress


@given(st.sampled_from(SCHEDULERS), st.floats(0, 1), st.integers(1, 400), st.integers(1, 30))
def test_progress_rises_to_one(name: str, warmup_ratio: float, total: int, evaluations: int) -> None:
    found = learning_progress(name, warmup_ratio, total, report_steps(total, evaluations))
    assert len(found) == min(total, evaluations)
    assert all(0 <= share <= 1 for share in found)
    assert found == sorted(found)
    assert found[-1] == 1.0


@given(st.sampled_from(SCHEDULERS), st.floats(0, 0.9), st.integers(2, 400), st.integers(1, 30))
def test_it_is_the_share_of_the_summed_rate_that_is_spent(
    name: str, warmup_ratio: float, total: int, evaluations: int
) -> None:
    steps = report_steps(total, evaluations)
    rates = [rate_share(name, step, warmup_steps(warmup_ratio, total), total) for step in range(total)]
    found = learning_progress(name, warmup_ratio, total, steps)
    assert found == pytest.approx([sum(rates[:step]) / sum(rates) for step in steps])


def test_a_constant_rate_learns_evenly() -> None:
    assert learning_progress("constant", 0.3, 100, report_steps(100, 4)) == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_warm_up_and_the_end_of_a_cosine_are_hardly_any_of_it() -> None:
    found = learning_progress("cosine", 0.2, 1000, report_steps(1000, 10))
    # A tenth of the steps each: half of warm-up is an eighth of what all of it is, and that a tenth of a whole rate.
    assert found[0] == pytest.approx(0.25 * 0.1 / (0.1 + 0.4), abs=2e-3)
    assert found[1] == pytest.approx(0.1 / (0.1 + 0.4), abs=2e-3)
    assert found[9] - found[8] < 0.02
    assert max(after - before for before, after in itertools.pairwise(found)) > 0.15


def test_a_run_that_is_all_warm_up_without_a_rate_counts_its_steps() -> None:
    assert learning_progress("cosine", 1.0, 1, [1]) == [1.0]
