"""What a learning curve says by itself, on curves drawn for the purpose."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trials.curve import LearningCurve, noise
from trials.report import Report


def report(evaluation: int, eval_loss: float, train_loss: float = 1.0) -> Report:
    return Report(
        evaluation=evaluation,
        total_evaluations=100,
        step=10 * evaluation,
        total_steps=1000,
        tokens=0,
        epoch=0.0,
        train_loss=train_loss,
        eval_loss=eval_loss,
        learning_rate=1e-4,
        grad_norm=1.0,
        seconds=0.0,
        peak_memory_bytes=0,
    )


def curve(eval_losses: list[float], train_losses: list[float] | None = None) -> LearningCurve:
    """Draw a curve; training loss falls unless it is given."""
    train = train_losses or [2.0 - 0.01 * i for i in range(len(eval_losses))]
    pairs = zip(eval_losses, train, strict=True)
    return LearningCurve([report(i, *losses) for i, losses in enumerate(pairs, 1)])


# --- its best point


def test_the_best_is_the_lowest_finite_evaluation() -> None:
    best = curve([3.0, math.nan, 1.5, math.inf, 1.6, -math.inf]).best
    assert best is not None
    assert best.evaluation == 3


def test_of_equals_the_first_is_best() -> None:
    best = curve([2.0, 1.0, 1.0]).best
    assert best is not None
    assert best.evaluation == 2


@pytest.mark.parametrize("losses", [[], [math.nan, math.inf]])
def test_without_a_finite_evaluation_there_is_no_best(losses: list[float]) -> None:
    assert curve(losses).best is None


def test_an_appended_report_counts() -> None:
    drawn = curve([2.0])
    drawn.append(report(2, 1.0))
    assert drawn.eval_losses == [2.0, 1.0]


# --- divergence


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_divergence(loss: float) -> None:
    assert curve([2.0, loss]).divergence() == f"diverged: evaluation loss is {loss} at step 20"
    assert curve([2.0, 2.0], [2.0, loss]).divergence() == f"diverged: training loss is {loss} at step 20"


def test_far_above_the_first_evaluation_is_divergence() -> None:
    wanted = "diverged: evaluation loss 3.501 at step 30 is more than 1 above the first, 2.500"
    assert curve([2.5, 1.0, 3.501]).divergence() == wanted


@pytest.mark.parametrize("losses", [[], [9.0], [2.5, 3.5], [2.5, 9.0, 2.0]])
def test_anything_less_or_over_is_not_divergence(losses: list[float]) -> None:
    assert curve(losses).divergence() is None


# --- a sustained rise


def test_three_rises_while_training_loss_falls_are_over_fitting() -> None:
    wanted = (
        "over-fitting: evaluation loss rises 1.000 → 1.300 over 3 evaluations while training loss falls 1.990 → 1.960"
    )
    assert curve([1.1, 1.0, 1.1, 1.2, 1.3]).sustained_rise() == wanted


@pytest.mark.parametrize("losses", [[1.0, 1.1, 1.2], [1.0, 1.1, 1.2, 1.2], [1.0, 1.2, 1.1, 1.3], [1.0, 1.1, 1.2, 1.1]])
def test_fewer_rises_are_not(losses: list[float]) -> None:
    assert curve(losses).sustained_rise() is None


def test_a_rise_with_a_training_loss_that_does_not_fall_is_not() -> None:
    assert curve([1.0, 1.1, 1.2, 1.3], [2.0, 1.5, 1.8, 2.0]).sustained_rise() is None


def test_a_rise_within_the_noise_is_not() -> None:
    jagged = [2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 1.1, 1.2, 1.3]
    assert noise(jagged) > 0.15
    assert curve(jagged).sustained_rise() is None


def test_a_nan_is_no_rise() -> None:
    assert curve([1.0, 1.1, math.nan, 1.3]).sustained_rise() is None


# --- standstill


@pytest.mark.parametrize(
    ("losses", "patience", "stalled"),
    [
        ([1.0, 2.0, 2.0], 2, True),
        ([1.0, 2.0, 2.0], 3, False),
        ([3.0, 2.0, 1.0], 1, False),
        ([1.0, 1.0], 1, True),
        ([1.0, math.nan, math.nan], 2, True),
        ([math.nan, math.nan], 1, False),
        ([], 1, False),
    ],
)
def test_patience_counts_evaluations_since_the_best(losses: list[float], patience: int, stalled: bool) -> None:
    assert curve(losses).stalled(patience) is stalled


def test_no_patience_is_never() -> None:
    assert not curve([1.0, *[2.0] * 50]).stalled(0)


# --- noise


@given(st.floats(-10, 10), st.floats(-1, 1), st.integers(4, 40))
def test_a_straight_line_has_no_noise(start: float, slope: float, points: int) -> None:
    assert noise([start + slope * i for i in range(points)]) < 1e-12


@given(st.integers(0, 10_000), st.floats(1e-3, 10), st.floats(-1, 1))
def test_white_noise_on_a_line_is_recovered(seed: int, deviation: float, slope: float) -> None:
    drawn = np.random.default_rng(seed).normal(0, deviation, 400) + slope * np.arange(400)
    assert deviation / 1.5 < noise(drawn.tolist()) < deviation * 1.5


def test_one_jump_is_not_noise() -> None:
    assert noise([0.0] * 10 + [5.0] * 10) == 0


def test_what_is_not_finite_is_left_out() -> None:
    assert noise([0.0, 1.0, math.nan, 0.0, 1.0, 0.0, 1.0]) == pytest.approx(1.4826 * 2 / math.sqrt(6))


@pytest.mark.parametrize("losses", [[], [1.0], [1.0, 5.0, 1.0]])
def test_below_four_points_there_is_none(losses: list[float]) -> None:
    assert noise(losses) == 0
