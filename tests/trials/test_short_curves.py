"""Curves of few points, as a study's trials have: four to twelve evaluations, training loss averaged between them."""

import math

import numpy as np
import pytest

from trials.diagnosis import diagnose
from trials.finding import Diagnosis
from trials.logged import EvaluationPoint, LoggedCurve, TrainingPoint


def trial(*held: float, training: tuple[float, ...] = (), steps: int = 40, rate: float | None = 1e-4) -> Diagnosis:
    """The diagnosis of a trial that was evaluated at equal distances; training falls with it unless told otherwise."""
    losses = training or held
    places = [round(steps * (i + 1) / len(held)) for i in range(len(held))]
    curve = LoggedCurve(
        tuple(TrainingPoint(step, None, loss, rate) for step, loss in zip(places, losses, strict=True)),
        {"": tuple(EvaluationPoint(step, None, loss) for step, loss in zip(places, held, strict=True))},
        steps,
    )
    return diagnose(curve, high_loss=math.inf)


def test_a_fall_that_flattens_is_healthy() -> None:
    assert trial(2.1, 1.8, 1.7, 1.66, 1.65).kinds == ("healthy",)
    assert trial(1.1, 1.07, 1.05, 1.04, 1.035, training=(1.6, 1.12, 1.08, 1.06, 1.05)).kinds == ("healthy",)


def test_a_straight_fall_behind_a_hidden_start_is_under_fitted() -> None:
    found = trial(2.5, 2.46, 2.42, 2.38, 2.34)
    assert found.kinds == ("under-fitting",)
    assert found.findings[0].numbers["late_share"] == pytest.approx(0.4, abs=0.05)
    bends = (2.0 + 0.4 * math.exp(-1.5 * share) for share in (0.2, 0.4, 0.6, 0.8, 1.0))
    assert trial(*bends).kinds == ("healthy",), "a quarter of the way is still to go, and a quarter is hidden"


def test_what_training_shows_of_a_hidden_start_counts() -> None:
    held = (1.10, 1.08, 1.06, 1.04, 1.02)
    assert trial(*held).kinds == ("under-fitting",)
    assert trial(*held, training=(2.2, 1.10, 1.08, 1.06, 1.04)).kinds == ("healthy",)


def test_a_start_of_which_half_is_hidden_says_nothing_of_under_fitting() -> None:
    held = tuple(EvaluationPoint(step, None, 2.5 - 0.01 * step) for step in (20, 25, 30, 35, 40))
    training = tuple(TrainingPoint(point.step, None, point.loss) for point in held)
    assert diagnose(LoggedCurve(training, {"": held}, 40)).kinds == ("healthy",)


@pytest.mark.parametrize("points", [4, 5, 8, 12])
def test_evaluations_that_stay_are_stagnation_whatever_trainings_noise(points: int) -> None:
    noise = np.random.default_rng(points).normal(0, 0.1, points)
    found = trial(*(2.4 - 0.001 * i for i in range(points)), training=tuple(2.5 + noise))
    assert found.kinds == ("stagnation",)


def test_evaluations_that_stay_beside_hardly_any_training_loss() -> None:
    held = tuple(EvaluationPoint(step, None, 2.4 - 0.0005 * step) for step in range(1, 13))
    late = tuple(EvaluationPoint(step, None, 1.4) for step in range(6, 13))
    falls = (TrainingPoint(4, None, 2.6), TrainingPoint(8, None, 2.1), TrainingPoint(12, None, 1.4))
    found = diagnose(LoggedCurve((), {"": held}, 12))
    assert found.kinds == ("stagnation",)
    assert found.findings[0].evidence == "evaluation loss does not fall: 2.399 at step 1, 2.394 at step 12"
    assert diagnose(LoggedCurve(falls, {"": held}, 12)).kinds == ("stagnation",)
    assert diagnose(LoggedCurve(falls, {"": late}, 12)).kinds == ("healthy",), "it fell before the first evaluation"


def test_a_hump_of_two_percent_is_oscillation_and_one_of_one_percent_is_none() -> None:
    assert trial(2.46, 2.475, 2.53, 2.49, 2.40, 2.35).kinds == ("oscillation",)
    assert trial(2.46, 2.465, 2.48, 2.46, 2.40, 2.37, 2.36, 2.355).kinds != ("oscillation",)


def test_one_small_rise_of_few_evaluations_is_no_over_fitting() -> None:
    training = (2.4, 2.3, 2.2, 2.1, 2.0)
    assert trial(2.25, 2.11, 2.02, 1.985, 2.003, training=training).kinds != ("over-fitting",)
    assert trial(2.25, 2.11, 2.02, 1.985, 2.04, training=training).kinds == ("over-fitting",)
    assert trial(2.25, 2.11, 1.985, 1.997, 2.003, training=training).kinds == ("over-fitting",), "it goes on"


def test_early_swings_are_no_noise_and_late_ones_are() -> None:
    early = (2.46, 2.40, 2.50, 2.40, 2.50, 2.40, 2.50, 2.41, 2.405, 2.40, 2.398, 2.396)
    assert trial(*early).kinds == ("oscillation",)
    noisy = (2.46, 2.40, 2.46, 2.37, 2.33, 2.38, 2.32, 2.37, 2.31, 2.36, 2.30, 2.34)
    assert "oscillation" not in trial(*noisy).kinds


def test_a_trial_that_is_thrown_up_at_the_end_has_diverged() -> None:
    found = trial(4.454, 4.377, 4.285, 4.287, 5.317, training=(3.55, 4.52, 4.41, 4.27, 4.44))
    assert found.kinds == ("divergence",)
    assert "rises 4.285 → 5.317, and training loss does not fall either" in found.findings[0].evidence
    falling = trial(4.454, 4.377, 4.285, 4.287, 5.317, training=(4.9, 4.5, 4.2, 3.9, 3.5))
    assert falling.kinds == ("over-fitting",)


def test_three_evaluations_are_too_few() -> None:
    assert trial(2.0, 1.9, 1.8).kinds == ("too short to tell",)
    assert trial(2.0, 1.9, 1.8, 1.75).kinds != ("too short to tell",)
