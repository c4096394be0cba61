"""What each shape of curve is called, with the traps that published logs hold."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.trials.logs import curve
from trials.diagnosis import diagnose
from trials.finding import Diagnosis
from trials.logged import EvaluationPoint, LoggedCurve, TrainingPoint


def learning(t: float) -> float:
    """A healthy loss: falls fast, then flattens."""
    return 1.0 + 1.2 * math.exp(-9 * t)


def kinds(found: LoggedCurve) -> tuple[str, ...]:
    return diagnose(found).kinds


def with_losses(found: LoggedCurve, change: Callable[[int, float], float]) -> LoggedCurve:
    """The curve with its training losses changed, given place and loss."""
    training = tuple(p._replace(loss=change(i, p.loss)) for i, p in enumerate(found.training))
    return dataclasses.replace(found, training=training)


def noisy(shape: Callable[[float], float], share: float, points: int = 400, seed: int = 0) -> LoggedCurve:
    """A curve with white noise of a share of the loss."""
    signs = np.random.default_rng(seed).standard_normal(points)
    return with_losses(curve(shape, points, noise=0.0), lambda i, loss: loss * (1 + share * float(signs[i])))


def test_a_healthy_curve_with_and_without_evaluations() -> None:
    assert kinds(curve(learning)) == ("healthy",)
    found = diagnose(curve(learning, evaluation=lambda t: learning(t) + 0.05))
    assert found.kinds == ("healthy",)
    assert not found.sick
    assert not found.findings[0].remedy
    assert found.findings[0].evidence == "training loss 1.96 → 0.999, evaluation loss 1.54 → 1.05"


def test_training_on_another_scale_than_evaluation() -> None:
    assert kinds(curve(lambda t: 8 * learning(t), evaluation=learning)) == ("healthy",)


# Divergence.


def test_nan_to_the_end_is_divergence() -> None:
    found = diagnose(with_losses(curve(learning), lambda i, loss: math.nan if i >= 40 else loss))
    assert found.kinds == ("divergence",)
    assert found.findings[0].start == 410


def test_a_nan_that_passes_is_a_note() -> None:
    found = diagnose(with_losses(curve(learning), lambda i, loss: math.nan if i == 20 else loss))
    assert found.kinds == ("healthy",)
    assert "not finite at 1 of 60 points" in found.notes[0]


def test_zeros_for_ever_are_a_collapse_however_perfect_they_look() -> None:
    found = diagnose(with_losses(curve(learning), lambda i, _: 122.0 if i == 0 else 0.0))
    assert found.kinds == ("divergence",)
    assert found.findings[0].start == 20
    assert "122 → 0" in found.findings[0].evidence


def test_rows_learnt_to_zero_are_no_collapse() -> None:
    assert "divergence" not in kinds(curve(lambda t: round(2 * math.exp(-30 * t), 4), noise=0.0))


def test_a_rise_that_stays_is_divergence_and_one_that_passes_is_not() -> None:
    found = diagnose(curve(lambda t: learning(t) if t < 0.5 else 6.0))
    assert found.kinds == ("divergence",)
    assert found.findings[0].start is not None
    assert abs(found.findings[0].start - 300) <= 20
    assert kinds(curve(lambda t: 1.6 if 0.5 < t < 0.53 else learning(t))) == ("healthy",)


def test_a_rise_that_undoes_little_of_the_fall_is_no_divergence() -> None:
    assert "divergence" not in kinds(curve(lambda t: 1.5 if t > 0.6 else 1 + 5 * math.exp(-20 * t), points=100))
    assert kinds(curve(lambda t: 4.5 if t > 0.6 else 1 + 5 * math.exp(-20 * t), points=100)) == ("divergence",)


def test_a_run_that_came_back_once_and_is_up_again_has_not_diverged_before() -> None:
    found = diagnose(curve(lambda t: 6.0 if 0.3 < t < 0.5 or t > 0.8 else learning(t), points=100))
    assert found.kinds == ("divergence",)
    assert found.findings[0].start is not None
    assert abs(found.findings[0].start - 800) <= 30
    assert "divergence" not in kinds(curve(lambda t: 6.0 if 0.3 < t < 0.5 or t > 0.94 else learning(t), points=100))


def test_a_loss_that_leaves_its_start_upwards_is_divergence() -> None:
    assert kinds(curve(lambda t: 2.0 * math.exp(3 * t), points=12)) == ("divergence",)


@pytest.mark.parametrize("points", [40, 400])
def test_a_start_that_is_thrown_up_and_never_comes_back_below_is_divergence(points: int) -> None:
    def thrown(end: float) -> LoggedCurve:
        found = curve(lambda t: end + (6.8 - end) * math.exp(-4 * t), points)
        return with_losses(found, lambda i, loss: 4.0 if i == 0 else loss)

    found = diagnose(thrown(4.1), high_loss=math.inf)
    assert found.kinds == ("divergence",)
    assert "ends at 4.16, not below where it began" in found.findings[0].evidence
    assert "divergence" not in kinds(thrown(2.5))
    assert "divergence" not in kinds(with_losses(thrown(4.1), lambda i, loss: 3.9 + loss / 40))


def test_an_evaluation_lifted_while_training_does_not_fall_is_divergence_and_no_over_fitting() -> None:
    found = diagnose(curve(lambda t: 2.4 + 0.02 * t, evaluation=lambda t: 2.5 + 0.3 * t))
    assert found.kinds == ("divergence",)
    assert "training loss does not fall either" in found.findings[0].evidence


# Oscillation.


def test_swings_that_neighbours_share_are_oscillation() -> None:
    found = diagnose(curve(lambda t: learning(t) * (1 + 0.3 * math.sin(80 * t)), points=200))
    assert found.kinds == ("oscillation",)


def test_white_noise_of_15_percent_is_not() -> None:
    assert [kinds(noisy(learning, 0.15, seed=seed)) for seed in range(8)] == [("healthy",)] * 8
    assert all("oscillation" not in kinds(noisy(learning, 0.3, seed=seed)) for seed in range(8))


def test_lone_spikes_are_oscillation_when_there_are_several() -> None:
    def spiky(every: int) -> LoggedCurve:
        return with_losses(curve(learning, points=200), lambda i, loss: 3 * loss if i % every == every - 1 else loss)

    assert kinds(spiky(25)) == ("oscillation",)
    assert kinds(spiky(150)) == ("healthy",)


def test_an_evaluation_that_rises_and_comes_back_is_oscillation() -> None:
    hump = [1.5, 1.62, 1.56, 1.44, 1.41, 1.4]

    def evaluated(height: float) -> LoggedCurve:
        return curve(learning, evaluation=lambda t: 1.5 + height * (hump[round(6 * t) - 1] - 1.5), evaluations=6)

    found = diagnose(evaluated(1.0))
    assert found.kinds == ("oscillation",)
    assert "rises 1.5 → 1.62 and comes back to 1.4" in found.findings[0].evidence
    assert "oscillation" not in kinds(evaluated(0.2))


def test_the_first_fall_is_no_spike() -> None:
    assert "oscillation" not in kinds(curve(lambda t: 1 + 9 * math.exp(-60 * t), points=400))


# Over-fitting.


def test_evaluation_that_rises_while_training_falls() -> None:
    found = diagnose(curve(lambda t: 2 - t, evaluation=lambda t: 1.8 - 0.6 * t if t <= 0.4 else 1.4 + 0.5 * t))
    assert found.kinds == ("over-fitting",)
    finding = found.findings[0]
    assert finding.start == 240
    assert finding.numbers["from"] == pytest.approx(1.56)
    assert "while training loss falls" in finding.evidence
    assert finding.rule == "1.2, 2.3"


def test_a_minimum_at_the_first_evaluation() -> None:
    found = diagnose(curve(lambda t: 2 - t, evaluation=lambda t: 1.4 + 0.4 * t))
    assert found.kinds == ("over-fitting",)
    assert found.findings[0].start == 60


def test_a_rise_of_a_tiny_loss_is_none() -> None:
    assert kinds(curve(lambda t: 0.9 * math.exp(-20 * t) + 0.001, evaluation=lambda t: 0.002 + 0.001 * t)) == (
        "healthy",
    )


def test_a_rise_within_evaluations_noise_is_none() -> None:
    rough = [1.2, 1.1, 1.05, 1.0, 1.03, 0.98, 1.04, 0.99, 1.03, 1.0]
    found = curve(learning, evaluation=lambda t: rough[round(10 * t) - 1])
    assert kinds(found) == ("healthy",)
    longer = [1.287, 1.107, 1.074, 1.028, 0.973, 1.002, 0.99, 1.007, 0.974, 1.013, 1.015, 1.044]
    found = curve(lambda t: 2 - t, evaluation=lambda t: longer[round(12 * t) - 1], evaluations=12)
    assert kinds(found) == ("healthy",), "nor is it under-fitted: held-out loss has stopped falling"


def test_a_gap_that_opened_beyond_a_half() -> None:
    found = diagnose(curve(lambda t: 0.4 + 1.4 * math.exp(-8 * t), evaluation=lambda t: 1.2 + 0.2 * math.exp(-8 * t)))
    assert found.kinds == ("over-fitting",)
    assert "0.80 above" in found.findings[0].evidence


def test_a_gap_that_was_always_there_is_another_data_set() -> None:
    assert kinds(curve(learning, evaluation=lambda t: learning(t) + 0.6)) == ("healthy",)


def test_the_worst_of_several_evaluation_sets_counts() -> None:
    found = curve(lambda t: 2 - t, evaluation=lambda t: 1.8 - 0.3 * t)
    law = tuple(p._replace(loss=1.2 + 0.4 * p.step / 600) for p in found.evaluations[""])
    diagnosis = diagnose(dataclasses.replace(found, evaluations={"chat": found.evaluations[""], "law": law}))
    assert diagnosis.kinds == ("over-fitting",)
    assert "evaluation loss of law" in diagnosis.findings[0].evidence


def test_stairs_at_epochs_are_a_suspicion_and_smaller_ones_are_not() -> None:
    def stairs(drop: float) -> Diagnosis:
        return diagnose(curve(lambda t: 1.2 * (1 - drop) ** math.floor(2.999 * t), points=90))

    found = stairs(0.35)
    assert found.kinds == ("over-fitting",)
    assert found.findings[0].suspected
    assert stairs(0.06).kinds == ("healthy",)


# Stagnation and under-fitting.


@pytest.mark.parametrize("level", [math.log(2), math.log(32_000), 1.4], ids=["ln 2", "ln vocabulary", "anywhere"])
def test_a_loss_that_does_not_move_is_stuck(level: float) -> None:
    assert kinds(curve(lambda _: level)) == ("stagnation",)


def test_preference_tuning_that_leaves_ln_2_is_healthy() -> None:
    assert kinds(curve(lambda t: 0.2 + 0.49 * math.exp(-10 * t))) == ("healthy",)


def test_a_plateau_too_high_for_a_pretrained_model() -> None:
    high = curve(lambda t: 7.4 + 6 * math.exp(-60 * t))
    found = diagnose(high)
    assert found.kinds == ("stagnation",)
    assert found.findings[0].start is not None
    assert found.findings[0].start <= 100
    assert diagnose(high, high_loss=math.inf).kinds == ("healthy",)


def test_a_fall_of_5_percent_is_real_when_the_noise_is_small() -> None:
    found = curve(lambda t: 1.0 + 0.05 * math.exp(-8 * t), noise=0.002)
    assert kinds(found) == ("healthy",)


def test_what_still_falls_at_the_end_is_under_fitted() -> None:
    found = diagnose(curve(lambda t: 2.4 - 0.5 * t, evaluation=lambda t: 2.45 - 0.5 * t))
    assert found.kinds == ("under-fitting",)
    assert found.findings[0].numbers["late_share"] == pytest.approx(1 / 3, abs=0.05)


def test_trainings_noise_does_not_hide_that_evaluation_still_falls() -> None:
    found = curve(lambda _: 2.4, 90, evaluation=lambda t: 2.45 - 0.08 * t, evaluations=12)
    signs = np.random.default_rng(1).standard_normal(90)
    rough = with_losses(found, lambda i, loss: loss + 0.3 * float(signs[i]) + (0.15 if i < 3 else 0.0))
    assert kinds(rough) == ("under-fitting",)


def decaying(fall: float) -> LoggedCurve:
    """A fall that flattens in steps, but is straight in what its rate, which goes to nothing, adds up to."""
    found = curve(lambda t: 2.4 - fall * (2 * t - t * t), points=100)
    down = tuple(p._replace(learning_rate=1e-4 * (1 - (i + 0.5) / 100)) for i, p in enumerate(found.training))
    return dataclasses.replace(found, training=down)


def test_a_schedules_end_is_no_plateau_where_little_was_learnt() -> None:
    assert kinds(decaying(0.08)) == ("under-fitting",)
    assert kinds(decaying(0.5)) == ("healthy",)


def test_a_high_loss_at_the_end_is_never_healthy() -> None:
    assert kinds(curve(lambda t: 5.0 + 2.5 * math.exp(-6 * t))) == ("stagnation",)
    assert kinds(curve(lambda t: 5.9 - 0.7 * t)) == ("under-fitting",)


def test_a_run_that_is_not_over_is_not_under_fitted() -> None:
    found = diagnose(curve(lambda t: 2.4 - 0.5 * t, total=3000))
    assert found.kinds == ("healthy",)
    assert found.notes == ("the log ends at step 600 of 3000, where the loss still falls",)


# Too short.


def test_too_few_points_and_a_run_still_in_warm_up() -> None:
    assert kinds(curve(learning, points=4)) == ("too short to tell",)
    assert kinds(LoggedCurve(())) == ("too short to tell",)
    assert kinds(curve(learning, points=5)) != ("too short to tell",)
    warming = tuple(TrainingPoint(10 * i, None, 2.0 - 0.01 * i, 1e-6 * i) for i in range(1, 30))
    assert kinds(LoggedCurve(warming, {}, 3000)) == ("too short to tell",)


def test_nothing_is_said_of_a_flat_curve_whose_noise_would_hide_a_fall() -> None:
    assert kinds(noisy(lambda _: 1.5, 0.3, points=12)) == ("too short to tell",)


def test_evaluations_that_stay_show_what_trainings_noise_hides() -> None:
    found = noisy(lambda _: 1.5, 0.3, points=12)
    evaluations = tuple(EvaluationPoint(20 * i, None, 1.5 - 0.001 * i) for i in range(1, 7))
    assert kinds(dataclasses.replace(found, evaluations={"": evaluations})) == ("stagnation",)


def test_more_evaluations_than_training_points() -> None:
    found = curve(lambda t: 1.0 + 0.8 * math.exp(-5 * t), points=5)
    evaluations = tuple(EvaluationPoint(5 * i, None, 1.1 + 0.3 * math.exp(-0.7 * i)) for i in range(1, 11))
    assert kinds(dataclasses.replace(found, evaluations={"": evaluations})) == ("healthy",)
    assert kinds(LoggedCurve((), {"": evaluations}, 50)) == ("healthy",)


def test_lost_evaluations_and_gradients_are_notes() -> None:
    found = curve(learning, evaluation=lambda t: math.nan if t > 0.5 else learning(t))
    training = tuple(p._replace(grad_norm=math.nan if i == 3 else 1.0) for i, p in enumerate(found.training))
    diagnosis = diagnose(dataclasses.replace(found, training=training))
    assert diagnosis.kinds == ("healthy",)
    assert "not a number in 5 of 10 evaluations" in diagnosis.notes[0]
    assert "gradient norm is not finite at 1 points" in diagnosis.notes[1]


def test_a_hundred_thousand_points() -> None:
    assert kinds(curve(learning, points=100_000, every=1)) == ("healthy",)
