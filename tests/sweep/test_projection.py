"""Where curves are projected to end, against curves whose end is known."""

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sweep.projection import (
    EXPONENT_ERROR,
    LEAST_SHARE,
    LOCAL_OFFSET,
    LOCAL_WEIGHT,
    MOST_LOCAL,
    TIE,
    USUAL_EXPONENT,
    even_progress,
    project,
)
from tests.sweep.contending import power_law
from trials.curve import noise
from trials.schedule import learning_progress, report_steps

EVEN = even_progress(10)
COSINE = learning_progress("cosine", 0.1, 200, report_steps(200, 10))
WARM = learning_progress("cosine", 0.3, 200, report_steps(200, 5))
CONSTANT = learning_progress("constant", 0.0, 200, report_steps(200, 10))
# The exponent that is neither raised nor lowered once a curve shows its own.
SETTLED = LOCAL_OFFSET / (1 - LOCAL_WEIGHT)

progresses = st.lists(st.floats(1e-4, 1), min_size=2, max_size=15, unique=True).map(
    lambda shares: [share / max(shares) for share in sorted(shares)]
)
losses = st.floats(0.1, 12)


def test_even_progress_is_as_much_with_each_report() -> None:
    assert even_progress(4) == [0.25, 0.5, 0.75, 1.0]


# --- curves whose end is known


@pytest.mark.parametrize("progress", [EVEN, COSINE], ids=["even", "cosine"])
def test_from_one_report_a_usual_power_law_is_projected_to_its_end(progress: list[float]) -> None:
    losses = power_law(3.0, 0.8, USUAL_EXPONENT, progress, reports=1)
    assert project(losses, progress, 3.0).loss == pytest.approx(2.2)


@pytest.mark.parametrize("progress", [EVEN, COSINE], ids=["even", "cosine"])
@pytest.mark.parametrize("reports", range(2, 10))
def test_an_exact_power_law_is_projected_to_its_end(progress: list[float], reports: int) -> None:
    losses = power_law(3.0, 0.8, SETTLED, progress, reports)
    assert project(losses, progress, 3.0).loss == pytest.approx(2.2)


@pytest.mark.parametrize("progress", [EVEN, COSINE], ids=["even", "cosine"])
@pytest.mark.parametrize("reports", range(2, 10))
def test_without_the_loss_before_training_the_first_report_is_taken_for_it(progress: list[float], reports: int) -> None:
    exponent = USUAL_EXPONENT if reports == 2 else SETTLED
    since_first = [(share - progress[0]) / (1 - progress[0]) for share in progress[1:]]
    losses = [3.0, *power_law(3.0, 0.8, exponent, since_first, reports - 1)]
    assert project(losses, progress).loss == pytest.approx(2.2)


@given(progresses, st.floats(0.01, 5), st.floats(0.1, 0.9), st.data())
def test_any_power_law_ends_within_a_deviation(
    progress: list[float], drop: float, exponent: float, data: st.DataObject
) -> None:
    reports = data.draw(st.integers(2, len(progress)))
    losses = power_law(6.0, drop, exponent, progress, reports)
    projected = project(losses, progress, 6.0)
    assert abs(projected.loss - (6.0 - drop)) <= projected.error + 1e-9 or reports == len(progress)


@pytest.mark.parametrize(
    ("losses", "exponent"),
    [
        ([2.99, 2.0], LOCAL_OFFSET + LOCAL_WEIGHT * MOST_LOCAL),  # leaps
        ([3.1, 2.8], LOCAL_OFFSET + LOCAL_WEIGHT),  # rose at first
        ([2.5, 2.6], LOCAL_OFFSET),  # falls back
        ([2.8, 2.6], LOCAL_OFFSET + LOCAL_WEIGHT),  # falls evenly
    ],
)
def test_how_it_fell_last_says_how_it_goes_on_within_reason(losses: list[float], exponent: float) -> None:
    """Two of ten reports: as much progress again is five times what was made."""
    assert project(losses, EVEN, 3.0).loss == pytest.approx(3.0 - (3.0 - losses[-1]) * 5**exponent)


def test_how_it_fell_is_seen_over_more_than_a_fifth_of_its_progress() -> None:
    """Half of the run is left; neighbours differ by noise, and the fourth of eight reports stands for them all."""
    progress = [report / 16 for report in range(1, 17)]
    losses = power_law(3.0, 0.8, SETTLED, progress, reports=8)
    jumps = [*losses[:6], losses[6] + 0.02, losses[7]]
    assert project(jumps, progress, 3.0).loss == project(losses, progress, 3.0).loss == pytest.approx(2.2)


def test_a_curve_at_its_end_is_what_it_reached() -> None:
    assert project([3.0, 2.0, 2.5], even_progress(3), 4.0).loss == 2.0
    noisy = [3.0, 3.1, 2.6, 2.9, 2.6, 2.5]
    assert project(noisy, even_progress(6), 4.0).error == noise(noisy) > 0
    assert project([3.0, 2.0, 2.5], even_progress(2)).loss == 2.0, "a trial may have gone on"


# --- progress counts


def test_what_was_learnt_in_warm_up_promises_more_than_at_the_full_rate() -> None:
    assert WARM[0] > LEAST_SHARE
    assert project([2.9], WARM, 3.0).loss < project([2.9], even_progress(5), 3.0).loss


def test_the_end_of_a_cosine_promises_less_than_a_constant_rate() -> None:
    losses = power_law(3.0, 0.8, SETTLED, CONSTANT, reports=8)
    assert project(losses, COSINE, 3.0).loss > project(losses, CONSTANT, 3.0).loss


def test_a_curve_is_projected_lower_and_less_surely_the_more_of_the_run_is_left() -> None:
    losses = [2.9, 2.8, 2.75]
    projected = [project(losses, even_progress(horizon), 3.0) for horizon in range(3, 12)]
    assert all(a.loss > b.loss and a.error < b.error for a, b in itertools.pairwise(projected))


@pytest.mark.parametrize("share", [0.0, LEAST_SHARE - 0.01])
def test_nothing_is_known_while_hardly_anything_was_learnt(share: float) -> None:
    projected = project([3.0], [share, 0.5, 1.0], 3.1)
    assert (projected.loss, projected.error) == (3.0, math.inf)


# --- how sure it is


def test_one_report_without_a_start_promises_nothing() -> None:
    projected = project([2.5], EVEN)
    assert (projected.loss, projected.error) == (2.5, math.inf)


@pytest.mark.parametrize("start", [3.0, None])
@pytest.mark.parametrize("progress", [EVEN, COSINE], ids=["even", "cosine"])
def test_the_error_shrinks_towards_the_end(progress: list[float], start: float | None) -> None:
    losses = power_law(3.0, 0.8, SETTLED, progress)
    errors = [project(losses[:reports], progress, start).error for reports in range(2, 10)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 5 * errors[-1] > 0


def test_one_report_is_unsure_by_the_error_of_the_usual_exponent() -> None:
    losses = power_law(3.0, 0.8, USUAL_EXPONENT, EVEN, reports=1)
    hoped = 3.0 - (3.0 - losses[0] + TIE) * 0.1 ** -(USUAL_EXPONENT + EXPONENT_ERROR)
    assert project(losses, EVEN, 3.0).error == pytest.approx(2.2 - hoped)


# --- what does not fall


@pytest.mark.parametrize("spike", [[2.8], [3.4], [3.4, 3.0], [4.0, 3.4, 2.9]])
def test_a_spike_leaves_the_hope_that_was_before(spike: list[float]) -> None:
    """Whether the loss has just leapt or is falling back; the third is a leap above the start."""
    before, risen = project([2.7, 2.6], EVEN, 3.0), project([2.7, 2.6, *spike], EVEN, 3.0)
    assert risen.loss == 2.6
    assert risen.loss - risen.error == pytest.approx(before.loss - before.error)


def test_a_best_from_before_anything_was_learnt_promises_nothing() -> None:
    """The first report fell into steps whose rate was 0: as noise has it."""
    unknown, known = (project([2.9, 2.95], [first, 0.5, 1.0], 3.0) for first in (0.0, 0.25))
    assert unknown.loss == known.loss == 2.9
    assert unknown.error < known.error


@pytest.mark.parametrize("lost", [[3.4, 3.4], [2.8, 3.0], [4.0, 3.4, 3.5]])
def test_what_goes_on_rising_is_no_spike(lost: list[float]) -> None:
    assert project([2.7, 2.6, *lost], EVEN, 3.0).error < project([2.7, 2.6, lost[0]], EVEN, 3.0).error / 2


@pytest.mark.parametrize("start", [2.6, 2.0, None])
def test_a_rise_does_not_undo_what_was_reached(start: float | None) -> None:
    assert project([2.0, 2.5, 3.0], EVEN, start).loss == 2.0


@pytest.mark.parametrize("losses", [[2.0, 2.0], [2.0, 2.1, 2.2], [2.0, 2.1, 2.0]])
@pytest.mark.parametrize("start", [2.0, None])
def test_without_an_improvement_it_ends_at_its_best_and_hardly_lower(losses: list[float], start: float | None) -> None:
    projected = project(losses, EVEN, start)
    assert projected.loss == 2.0
    assert projected.error > 0
    assert TIE <= project([2.0] * len(losses), EVEN, start).error < 10 * TIE


def test_a_better_curve_is_never_projected_worse() -> None:
    curves = [[3.0, 2.8, last] for last in (2.9, 2.8, 2.7, 2.6, 2.5, 2.4)]
    for start in (3.3, None):
        projected = [project(losses, EVEN, start).loss for losses in curves]
        assert projected == sorted(projected, reverse=True)


# --- any curve


@given(progresses, st.data(), st.none() | losses)
def test_any_curve_ends_no_higher_than_its_best_by_an_error_that_is_none_or_more(
    progress: list[float], data: st.DataObject, start: float | None
) -> None:
    seen = data.draw(st.lists(losses, min_size=1, max_size=len(progress)))
    projected = project(seen, progress, start)
    assert projected.loss <= min(seen)
    assert projected.error >= 0  # nor NaN


@given(progresses, st.data(), losses, st.floats(-5, 5), st.floats(0.1, 10))
def test_where_zero_lies_and_what_a_nat_is_do_not_matter(
    progress: list[float], data: st.DataObject, start: float, shift: float, factor: float
) -> None:
    seen = data.draw(st.lists(losses, min_size=1, max_size=len(progress)))
    # Within rounding of no drop at all, rounding decides.
    assume(all(abs(start - loss) > 1e-3 for loss in seen))
    projected = project(seen, progress, start)
    assume(math.isfinite(projected.error))
    moved = project([loss + shift for loss in seen], progress, start + shift)
    assert moved.loss == pytest.approx(projected.loss + shift, rel=1e-6, abs=1e-6)
    assert moved.error == pytest.approx(projected.error, rel=1e-6, abs=1e-6)
    scaled = project([loss * factor for loss in seen], progress, start * factor)
    assert scaled.loss == pytest.approx(projected.loss * factor, rel=1e-6, abs=1e-6)


@given(progresses, st.data(), st.floats(3, 12), st.floats(0, 1))
def test_a_lower_last_report_never_raises_a_projection(
    progress: list[float], data: st.DataObject, start: float, lower: float
) -> None:
    seen = data.draw(st.lists(losses, min_size=1, max_size=len(progress)))
    better = [*seen[:-1], seen[-1] - lower]
    assert project(better, progress, start).loss <= project(seen, progress, start).loss + 1e-9
