"""A few of the benchmark's drawn curves (`tests.benchmarks.drawn_curves` has thousands): no class may be lost."""

import pytest

from tests.benchmarks.drawn_curves import CLASSES, drawn
from trials.diagnosis import diagnose

CURVES = 20


@pytest.mark.parametrize("kind", CLASSES)
def test_drawn_curves_are_what_they_were_drawn_as(kind: str) -> None:
    said = [diagnose(drawn(kind, number, seed=3)).kinds for number in range(CURVES)]
    assert said.count((kind,)) >= 0.9 * CURVES, said


def test_a_draw_is_its_seeds() -> None:
    assert drawn("healthy", 1, 3) == drawn("healthy", 1, 3)
    assert drawn("healthy", 1, 3) != drawn("healthy", 2, 3)
