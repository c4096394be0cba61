"""The count of trials until an optimum is found."""

from tests.benchmarks.ranges import trials_until
from tests.sweep.fakes import trial_row


def test_trials_are_counted_until_rate_and_loss_are_near_and_stay_so() -> None:
    rows = [
        trial_row(0, 3.9, learning_rate=4e-3),
        trial_row(1, 3.8, learning_rate=2e-4),
        trial_row(2, 3.0, learning_rate=4e-3, state="pruned"),
        trial_row(3, 3.71, learning_rate=3e-3),
        trial_row(4, 3.70, learning_rate=4e-3),
    ]
    assert trials_until(rows, 4.5e-3, 3.70) == (4, 4)
    assert trials_until(rows[:3], 4.5e-3, 3.70) == (None, None)
