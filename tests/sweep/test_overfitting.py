"""When a trial is said to have learnt its rows by heart."""

import math

import pytest

from sweep.overfitting import LEAST_FALL, STILL, judge
from tests.sweep.fakes import curve

HELD_OUT = (4.0, 3.9, 3.8, 3.8, 3.9)


def kind(*train_losses: float) -> str:
    return judge(curve(*HELD_OUT, train_losses=train_losses)).kind


@pytest.mark.parametrize(
    ("second", "last", "expected"),
    [
        (3.0, 0.1, "over-fits"),
        (3.0, 3.0 * (1 - LEAST_FALL), "over-fits"),
        (3.0, 3.0 * (1.01 - LEAST_FALL), "learns too little"),
        (3.99, 4.0 * (0.999 - STILL), "learns too little"),
        (3.99, 4.0 * (1.001 - STILL), "stands still"),
        (4.0, 4.0, "stands still"),
        (4.0, 4.0 * (0.999 + STILL), "stands still"),
        (4.0, 4.0 * (1.001 + STILL), "diverges"),
        (6.0, 4.0 * (1.001 + STILL), "diverges"),
        (3.0, math.nan, "diverges"),
        (3.0, math.inf, "diverges"),
    ],
)
def test_what_is_left_of_the_loss_decides(second: float, last: float, expected: str) -> None:
    assert kind(4.0, second, 3.9, 3.9, last) == expected


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ((3.93, 3.379, 2.969, 2.627, 2.462), "over-fits"),
        ((13.336, 11.333, 11.148, 11.072, 11.057), "learns too little"),
    ],
    ids=["chitchat", "random tokens for answers"],
)
def test_the_default_models_own_curves_are_told_apart(losses: tuple[float, ...], expected: str) -> None:
    assert kind(*losses) == expected


def test_a_loss_that_was_not_finite_on_the_way_is_lost() -> None:
    assert kind(4.0, math.nan, 3.0, 2.0, 1.0) == "diverges"


def test_the_training_loss_decides_and_not_the_evaluation_loss() -> None:
    assert judge(curve(4.0, 3.0, 2.0, 1.0, 0.5, train_losses=(4.0,) * 5)).kind == "stands still"
    assert judge(curve(*(4.0,) * 5, train_losses=(4.0, 3.0, 2.0, 1.0, 0.5))).passed


def test_the_fall_is_a_share_of_the_second_pass() -> None:
    found = judge(curve(*HELD_OUT, train_losses=(4.0, 3.0, 2.5, 2.2, 1.5)))
    assert (found.first, found.second, found.last, found.fall) == (4.0, 3.0, 1.5, 0.5)
