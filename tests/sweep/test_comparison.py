"""The verdict of an interval, and Student's quantiles against published ones."""

import pytest

from sweep.comparison import Effect, student, student_between


# Any table of Student's t, 97.5 %.
@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (5, 2.5706), (10, 2.2281), (30, 2.0423), (200, 1.9719)],
)
def test_quantiles(freedom: int, quantile: float) -> None:
    assert student(freedom) == pytest.approx(quantile, rel=2e-4)


def test_quantiles_between_whole_numbers() -> None:
    assert student_between(5.0) == pytest.approx(student(5))
    assert student(6) < student_between(5.5) < student(5)
    assert student_between(0.3) == pytest.approx(student(1))


@pytest.mark.parametrize(
    ("low", "high", "decided", "verdict"),
    [
        (-0.2, -0.1, True, "better"),
        (0.1, 0.2, True, "worse"),
        (-0.1, 0.1, True, "not distinguishable"),
        (-0.1, 0.0, True, "not distinguishable"),
        (-0.2, -0.1, False, "no verdict"),
    ],
)
def test_a_verdict_needs_an_interval_without_zero(low: float, high: float, decided: bool, verdict: str) -> None:
    assert Effect((low + high) / 2, low, high, 5, decided).verdict == verdict
