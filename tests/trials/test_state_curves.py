"""Real curves, recorded small (`tests.benchmarks.state_curves` has the labelling rule)."""

from collections import Counter

from tests.benchmarks.state_curves import labels, logged, read, right, usual_gain
from trials.diagnosis import diagnose


def test_the_recorded_curves_are_enough_and_come_with_their_settings() -> None:
    recorded = read()
    assert len(recorded) >= 60
    assert len({(line["state"], line["seed"]) for line in recorded}) == len(recorded)
    assert all(line["settings"]["learning_rate"] > 0 for line in recorded)


def test_real_curves_are_what_they_were_made_into() -> None:
    recorded = read()
    gain = usual_gain(recorded)
    assert sum(right(line, gain) for line in recorded) >= 0.9 * len(recorded)


def test_hardly_a_healthy_real_curve_is_called_sick() -> None:
    recorded = read()
    gain = usual_gain(recorded)
    well = [line for line in recorded if labels(line, gain) == ("healthy",)]
    sick = Counter(diagnose(logged(line)).sick for line in well)
    assert len(well) >= 10
    # The one is a run whose evaluation loss still falls by a fifth of its way in its last third.
    assert sick[True] <= 1
