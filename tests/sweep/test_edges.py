"""Best trials that crowd the edge of a range."""

import pytest

from sweep.edges import Crowd, crowded

NARROW = (1e-4, 2e-4, True)
WIDE = (1e-5, 1e-2, True)


@pytest.mark.parametrize(
    ("best", "where"),
    [
        ((9e-3, 8e-3, 7e-3, 1e-4), Crowd("upper", (0, 1, 2))),
        ((1e-2, 8e-3, 1e-4, 7e-3), Crowd("upper", (0, 1, 3))),
        ((1e-5, 1.2e-5, 1.4e-5, 1.1e-5), Crowd("lower", (0, 1, 2, 3))),
        ((1e-4, 9e-3, 8e-3, 7e-3), Crowd("upper", (1, 2, 3))),
        ((9e-3, 8e-3, 1e-4, 1e-3), None),
        ((9e-3, 8e-3, 7e-3), None),
        ((9e-3, 8e-3, 6e-3, 1e-3), None),
    ],
    ids=["three of four", "in any order", "lower", "all but the best", "two", "too few trials", "beyond the margin"],
)
def test_three_of_the_best_four_crowd_an_edge(best: tuple[float, ...], where: Crowd | None) -> None:
    assert crowded(best, *WIDE) == where


def test_in_a_narrow_range_an_edge_is_a_third() -> None:
    assert crowded((1.9e-4, 1.7e-4, 1.6e-4, 1e-4), *NARROW) == Crowd("upper", (0, 1, 2))
    # Within a factor of 1.5 of the end, and yet in the range's middle.
    assert crowded((1.9e-4, 1.5e-4, 1.4e-4, 1.4e-4), *NARROW) is None


def test_a_range_that_is_not_logarithmic_has_a_tenth_for_an_edge() -> None:
    assert crowded((0.95, 0.92, 0.91, 0.1), 0.0, 1.0, False) == Crowd("upper", (0, 1, 2))
    assert crowded((0.95, 0.92, 0.85, 0.1), 0.0, 1.0, False) is None
