"""At which steps a run is evaluated."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from trials.schedule import report_steps


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
