import math
import pickle
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.errors import SpaceError
from spaces.expressions import LONGEST_TEXT, Constraint, Expression

VALUES: dict[str, Any] = {"a": 3, "b": 2.5, "s": "qv", "flag": True, "modules": ["q_proj"], "zero": 0}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + 1", 4),
        ("a - b", 0.5),
        ("a * b", 7.5),
        ("a / 2", 1.5),
        ("7 // a", 2),
        ("7 % a", 1),
        ("a ** 2", 9),
        ("-a", -3),
        ("2 + 3 * a", 11),
        ("(2 + 3) * a", 15),
        ("min(a, b, 9)", 2.5),
        ("max(a, b)", 3),
        ("round(b)", 2),
        ("round(2.345, 2)", 2.35),
        ("int(b)", 2),
        ("a == 3", True),
        ("a != 3", False),
        ("1 < b < a", True),
        ("1 < b > a", False),
        ("5 > a > 4", False),
        ("s == 'qv'", True),
        ("s in ['qv', 'all']", True),
        ("s not in ('qv', 'all')", False),
        ("a in [-3, 3]", True),
        ("a > 1 and s == 'all'", False),
        ("a > 1 or s == 'all'", True),
        ("not a > 1", False),
        ("flag", True),
        ("s < 'z'", True),
        ("modules == 'qv'", False),
        ("  a  ", 3),
        ("zero == 0 or 1 / zero > 1", True),
        ("'text'", "text"),
    ],
)
def test_evaluates(text: str, expected: object) -> None:
    value = Expression(text).evaluate(VALUES)
    assert value == pytest.approx(expected)
    assert isinstance(value, bool) == isinstance(expected, bool)


def test_names_are_knobs_and_not_functions() -> None:
    assert Expression("max(a, b) > 1 and c in [1]").names == {"a", "b", "c"}


def test_equal_text_is_equal_and_survives_pickling() -> None:
    expression = Expression("a * b")
    assert expression == Expression(" a * b ")
    copy = pickle.loads(pickle.dumps(expression))
    assert copy == expression
    assert copy.evaluate(VALUES) == 7.5
    assert Expression("(a)*b").canonical == expression.canonical


@pytest.mark.parametrize(
    "text",
    [
        "a.real",
        "modules[0]",
        "__import__('os')",
        "a if b else s",
        "lambda: 1",
        "[x for x in (1,)]",
        "f'{a}'",
        "(a := 1)",
        "a = 1",
        "a; b",
        "",
        "   ",
        "a +",
        "None",
        "...",
        "b'x'",
        "1j",
        "[1]",
        "(1, 2)",
        "{1: 2}",
        "a is b",
        "a & 1",
        "a << 1",
        "a @ b",
        "~a",
        "+a",
        "a in b",
        "a in [b]",
        "a == [1]",
        "a in [[1]]",
        "min()",
        "min(*a)",
        "min(a, key=b)",
        "round(1, 2, 3)",
        "int()",
        "min",
        "abs(a)",
        "a\x00",
        "1e999",
        "9" * 30,
        "await a",
        "(yield)",
    ],
)
def test_what_is_outside_the_language_is_refused(text: str) -> None:
    with pytest.raises(SpaceError, match="expression"):
        # `min` alone parses as a knob of that name, which then has no value.
        Expression(text).evaluate(VALUES)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a / zero", "division by zero"),
        ("a % zero", "division by zero"),
        ("a // 0.0", "division by zero"),
        ("zero ** -1", "division by zero"),
        ("2 ** 17", "exponent 17 is beyond 16"),
        ("(10 ** 16) ** 16", "beyond 10^18"),
        ("10.0 ** 16 ** 2", "exponent"),
        ("(1e300 * b) * 1e300", "infinite"),
        ("(1e300) ** 16", "too large"),
        ("(-8) ** 0.5", "not a real number"),
        ("s * 9", "'qv' is not a number"),
        ("s + s", "'qv' is not a number"),
        ("flag + 1", "True is not a number"),
        ("-s", "'qv' is not a number"),
        ("s < 1", "'qv' is not a number"),
        ("max(s, s)", "'qv' is not a number"),
        ("modules", "neither a number, text"),
        ("missing + 1", "'missing' has no value"),
        ("int(1e300)", "beyond 10^18"),
        ("round(b, -1)", "0 to 15 digits"),
        ("round(b, 10 ** 9)", "0 to 15 digits"),
        ("round(b, 1.5)", "0 to 15 digits"),
    ],
)
def test_failures_say_why_and_show_the_text(text: str, why: str) -> None:
    with pytest.raises(SpaceError) as error:
        Expression(text).evaluate(VALUES)
    assert why in str(error.value)
    assert repr(text) in str(error.value)


@pytest.mark.parametrize("value", [math.inf, math.nan, 10**400])
def test_values_that_are_no_ordinary_numbers_are_refused(value: float) -> None:
    with pytest.raises(SpaceError):
        Expression("a * 2").evaluate({"a": value})


def test_length_and_depth_are_bounded() -> None:
    longest = "1 +" * 55 + " 1"
    assert Expression(longest).evaluate({}) == 56
    with pytest.raises(SpaceError, match=f"{LONGEST_TEXT + 1} characters, more than {LONGEST_TEXT}"):
        Expression("a" * (LONGEST_TEXT + 1))
    for text in ("-" * 400 + "1", "(" * 240 + "1" + ")" * 240, "not " * 120 + "a", "1+" * 240 + "1"):
        with pytest.raises(SpaceError):
            Expression(text).evaluate({"a": 1})


def test_an_unknown_function_is_guessed() -> None:
    with pytest.raises(SpaceError, match=r"no function 'rnd'.*Did you mean round"):
        Expression("rnd(a)")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a <= 5", -2),
        ("a <= 3", 0),
        ("a <= 1", 2),
        ("a >= 5", 2),
        ("a >= 3", 0),
        ("a >= 1", -2),
        ("a < 5", -2),
    ],
)
def test_violation_is_the_gap(text: str, expected: float) -> None:
    assert Constraint("c", text).violation(VALUES) == expected


@pytest.mark.parametrize("text", ["a < a", "a > a", "a < 3", "b > 2.5"])
def test_a_strict_comparison_of_equals_is_missed(text: str) -> None:
    assert 0 < Constraint("c", text).violation(VALUES) < 1e-6


@given(
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**18), 10**18),
    st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**18), 10**18),
)
def test_violation_agrees_with_the_comparison(a: float, b: float) -> None:
    for op, holds in (("<", a < b), ("<=", a <= b), (">", a > b), (">=", a >= b)):
        try:
            violation = Constraint("c", f"a {op} b").violation({"a": a, "b": b})
        except SpaceError:
            assert not math.isfinite(float(a) - float(b))
        else:
            assert (violation <= 0) == holds
            assert math.isfinite(violation)


@pytest.mark.parametrize("text", ["a", "a == 3", "a != 3", "1 < a < 5", "a in [1]", "a < 1 and b < 1", "not a < 1"])
def test_a_constraint_is_one_comparison(text: str) -> None:
    with pytest.raises(SpaceError, match="must be one comparison of two numbers"):
        Constraint("c", text)


def test_a_constraint_compares_numbers() -> None:
    with pytest.raises(SpaceError, match=r"constraint 's < a'.*'qv' is not a number"):
        Constraint("c", "s < a").violation(VALUES)


WORDS = (
    *(
        "a",
        "b",
        "s",
        "flag",
        "0",
        "1",
        "2.5",
        "9",
        "'x'",
        "min",
        "max",
        "round",
        "int",
        "in",
        "not",
        "and",
        "or",
    ),
    *(
        "(",
        ")",
        "[",
        "]",
        ",",
        "+",
        "-",
        "*",
        "**",
        "/",
        "//",
        "%",
        "<",
        "<=",
        "==",
        "!=",
        ".",
        ":",
        "=",
        "\n",
    ),
)
TOKENS = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)


@given(st.text(max_size=600) | TOKENS)
def test_no_text_does_anything_but_evaluate_or_raise_a_space_error(text: str) -> None:
    message = ""
    try:
        value = Expression(text).evaluate(VALUES)
        assert isinstance(value, (str, int, float, bool))
        assert isinstance(value, str) or math.isfinite(value)
    except SpaceError as error:
        message = str(error)
    assert not message or message.startswith("expression ")
    with suppress(SpaceError):
        assert math.isfinite(Constraint("c", text).violation(VALUES))
