import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.errors import SpaceError
from spaces.expressions import Expression
from spaces.parameter import Choice, Float, Int, Scalar

ANY_SCALAR = st.one_of(st.text(), st.integers(-(10**18), 10**18), st.floats(allow_nan=False), st.booleans())


def test_float_contains_both_bounds_and_nothing_beyond() -> None:
    knob = Float("x", 0.1, 0.2)
    assert [knob.contains(v) for v in (0.1, 0.15, 0.2)] == [True] * 3
    assert [knob.contains(v) for v in (0.0999, 0.2001, "0.15", True, None, float("nan"))] == [False] * 6


def test_int_contains_its_steps_alone() -> None:
    knob = Int("x", 2, 8, step=3)
    assert list(knob.values()) == [2, 5, 8]
    assert [knob.contains(v) for v in (2, 5, 8)] == [True] * 3
    assert [knob.contains(v) for v in (3, 9, 5.0, True, "5")] == [False] * 5


def test_choice_holds_true_and_one_apart() -> None:
    assert Choice("x", (1, 2)).contains(1)
    assert not Choice("x", (1, 2)).contains(True)
    assert Choice("x", (True, False)).contains(True)
    assert not Choice("x", (True, False)).contains(1)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, 1.0), (1.5, 1.5), (7, 4.0), ("text", None), (True, None), (float("inf"), None)],
)
def test_float_nearest(value: Scalar, expected: float | None) -> None:
    assert Float("x", 1.0, 4.0).nearest(value) == expected


@pytest.mark.parametrize(("value", "expected"), [(0, 2), (4, 5), (3, 2), (100, 8), ("text", None)])
def test_int_nearest(value: Scalar, expected: int | None) -> None:
    assert Int("x", 2, 8, step=3).nearest(value) == expected


@pytest.mark.parametrize(
    ("options", "value", "expected"),
    [
        ((8, 16, 32), 16, 16),
        ((8, 16, 32), 27, 32),
        (("a", 4, 9), 5, 4),
        (("a", 4), "b", "a"),
        (("b", "a"), 3, "b"),
    ],
)
def test_choice_nearest(options: tuple[Scalar, ...], value: Scalar, expected: Scalar) -> None:
    assert Choice("x", options).nearest(value) == expected


@given(ANY_SCALAR)
def test_the_nearest_value_is_always_allowed(value: Scalar) -> None:
    for knob in (Float("x", 1e-6, 0.5), Int("x", -3, 9, step=4), Choice("x", ("a", 3, True, 2.5))):
        nearest = knob.nearest(value)
        assert nearest is None or knob.contains(nearest)


def test_bad_ranges_are_refused() -> None:
    with pytest.raises(SpaceError, match=r"2\.0\.\.1\.0 is inverted"):
        Float("x", 2.0, 1.0)
    with pytest.raises(SpaceError, match="log range starts above 0, not at 0"):
        Float("x", 0.0, 1.0, log=True)
    with pytest.raises(SpaceError, match=r"passes its limits 1\.0\.\.3\.0"):
        Float("x", 0.5, 2.0, limits=(1.0, 3.0))
    with pytest.raises(SpaceError, match="finite numbers, not inf"):
        Float("x", 0.5, float("inf"))
    with pytest.raises(SpaceError, match="step 2 does not lead from 1 to 4"):
        Int("x", 1, 4, step=2)
    with pytest.raises(SpaceError, match="step 0 does not lead"):
        Int("x", 1, 4, step=0)
    with pytest.raises(SpaceError, match="log and step 2 exclude each other"):
        Int("x", 2, 4, step=2, log=True)
    with pytest.raises(SpaceError, match="whole numbers, not True"):
        Int("x", True, 4)


@pytest.mark.parametrize("options", [(1, True), (1, 1.0), ("a", "a"), (0, False)])
def test_options_that_storage_cannot_tell_apart_are_refused(options: tuple[Scalar, ...]) -> None:
    with pytest.raises(SpaceError, match="is listed twice"):
        Choice("x", options)


def test_bad_options_are_refused() -> None:
    with pytest.raises(SpaceError, match="at least one option"):
        Choice("x", ())
    with pytest.raises(SpaceError, match="not a finite number"):
        Choice("x", (1.0, float("nan")))
    with pytest.raises(SpaceError, match="an option is a number, text, true or false, not None"):
        Choice("x", (1, None))  # type: ignore[arg-type]


def test_otherwise_needs_a_condition() -> None:
    with pytest.raises(SpaceError, match="there is no `when`"):
        Choice("x", (1, 2), otherwise=1)
    assert Choice("x", (1, 2), Expression("a > 1"), 3).otherwise == 3


def test_a_spec_is_what_a_file_would_say() -> None:
    when = Expression("(a>1)")
    assert Float("x", 1, 2, log=True, limits=(1, 5), when=when, otherwise=7).spec() == {
        "float": [1.0, 2.0],
        "log": True,
        "limits": [1, 5],
        "when": "a > 1",
        "else": 7,
    }
    assert Int("x", 2, 6, step=2).spec() == {"int": [2, 6], "step": 2}
    assert Choice("x", ("a", 1)).spec() == {"choice": ["a", 1]}
