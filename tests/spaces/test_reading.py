from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.errors import SpaceError
from spaces.expressions import Expression
from spaces.parameter import Choice, Float, Int
from spaces.reading import read_space
from spaces.space import SearchSpace
from spaces.yamlfile import parse_yaml

Read = Callable[[str], SearchSpace]


def test_every_form_of_a_knob(read: Read) -> None:
    space = read(
        """
description: >
  For a test.
guide: "4.2"
stage: pt
search:
  a: {float: [1e-4, '2e-4'], log: true, limits: [1e-6, 1]}
  b: {int: [2, 6], step: 2, limits: [0, 10]}
  c: {int: [1, 64], log: true}
  d: {choice: [1e-4, x, 3, true], when: b > 2, else: 1e-5}
"""
    )
    assert (space.name, space.description, space.guide, space.stage) == ("demo", "For a test.", "4.2", "pt")
    assert space.search == (
        Float("a", 1e-4, 2e-4, log=True, limits=(1e-6, 1.0)),
        Int("b", 2, 6, step=2, limits=(0, 10)),
        Int("c", 1, 64, log=True),
        Choice("d", (1e-4, "x", 3, True), Expression("b > 2"), 1e-5),
    )


def test_numbers_without_a_dot_are_numbers_everywhere(read: Read) -> None:
    space = read("stage: sft\nfixed: {f: 1e-4}\nsearch: {a: {float: [1e-5, 1e-3]}}\nstart: [{a: 1e-4}]")
    assert space.fixed == {"f": 1e-4}
    assert space.start == ({"a": 1e-4},)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "demo.yaml: the file holds nothing where"),
        ("[1]", "demo.yaml: the file holds [1] where"),
        (
            "stage: sft\nserach: {}",
            "demo.yaml: unknown key 'serach'. Did you mean search? Allowed: extends, description, guide",
        ),
        ("fixed: {a: 1}", "demo.yaml: stage is missing; allowed: sft, pt"),
        ("stage: dpo", "demo.yaml: stage is 'dpo'; allowed: sft, pt"),
        ("stage: 1", "demo.yaml: stage is 1; it should be text"),
        (
            "stage: sft\nguide: 4.2",
            'demo.yaml: guide is 4.2; it should be text: put it in quotes, such as guide: "4.2"',
        ),
        ("stage: sft\nfixed: [a]", "demo.yaml: fixed holds ['a'] where it should map names"),
        ("stage: sft\nfixed: {a: {b: 1}}", "demo.yaml: fixed.a: {'b': 1} is not a finite number"),
        ("stage: sft\nfixed: {a: null}", "demo.yaml: fixed.a: None is not a finite number"),
        ("stage: sft\nfixed: {a: []}", "demo.yaml: fixed.a: an empty list"),
        ("stage: sft\nfixed: {a: [[1]]}", "demo.yaml: fixed.a: [1] is not a finite number"),
        ("stage: sft\nfixed: {lora-rank: 1}", "demo.yaml: fixed: 'lora-rank' is no knob name"),
        (
            "stage: sft\nfixed: {stage: pt}",
            "demo.yaml: fixed.stage: stage is in a key of its own at the top already",
        ),
        (
            "stage: sft\nfixed: {a: 1}\nsearch: {a: {int: [1, 2]}}",
            "demo.yaml: search.a: a is in fixed already",
        ),
        ("stage: sft\nfixed: {a: 1}\nderived: {a: 1+1}", "demo.yaml: derived.a: a is in fixed already"),
        (
            "stage: sft\nderived: {a: 8}",
            "demo.yaml: derived.a: 8 is no expression; a plain value belongs under fixed",
        ),
        ("stage: sft\nderived: {a: b +}", "demo.yaml: derived.a: expression 'b +': not an expression"),
        (
            "stage: sft\nfixed: {lora_rank: 1}\nderived: {a: lora_rnk * 2}",
            "demo.yaml: derived.a: unknown knob 'lora_rnk'. Did you mean lora_rank? This space has: lora_rank",
        ),
        ("stage: sft\nconstraints: {c: a <= 1}", "demo.yaml: constraints.c: unknown knob 'a'"),
        (
            "stage: sft\nfixed: {a: 1}\nconstraints: {c: a}",
            "demo.yaml: constraints.c: constraint 'a' must be one",
        ),
        (
            "stage: sft\nconstraints: {c: true}",
            "demo.yaml: constraints.c: True is no comparison; write c: a <= b",
        ),
        (
            "stage: sft\nfixed: {a: 64}\nderived: {b: a * 1}\nconstraints: {c: b <= 32}",
            "demo.yaml, constraints.c: 'b <= 32' can never hold with b = 64",
        ),
        (
            "stage: sft\nfixed: {s: x}\nderived: {b: s * 2}",
            "demo.yaml, b: expression 's * 2': 'x' is not a number",
        ),
        (
            "stage: sft\nsearch: {s: {choice: [1, x]}}\nconstraints: {c: s < 3}",
            "demo.yaml, constraints.c: constraint 's < 3': 'x' is not a number",
        ),
        ("stage: sft\nsearch: {a: {int: [1, 2], when: b > 1}}", "demo.yaml: search.a.when: unknown knob 'b'"),
        (
            "stage: sft\nderived: {a: b, b: a}",
            "demo.yaml: knobs depend on each other in a circle: a -> b -> a",
        ),
        ("stage: sft\nderived: {a: a}", "demo.yaml: knobs depend on each other in a circle: a -> a"),
        (
            "stage: sft\nsearch: {a: {int: [1, 2], when: b}, b: {int: [1, 2], when: c}}\nderived: {c: a}",
            "demo.yaml: knobs depend on each other in a circle: a -> b -> c -> a",
        ),
    ],
)
def test_mistakes_in_a_file(read: Read, text: str, message: str) -> None:
    with pytest.raises(SpaceError) as error:
        read(text)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "[8, 16]",
            "[8, 16] is no search; write {float: [low, high]}, {int: [low, high]} or {choice: [a, b]}",
        ),
        ("8", "8 is no search"),
        ("{}", "a searched knob has one of float, int and choice (none in {})"),
        ("{values: [1]}", "a searched knob has one of float, int and choice (none in {'values': [1]})"),
        (
            "{float: [1, 2], int: [1, 2]}",
            "a searched knob has one of float, int and choice (float, int together)",
        ),
        (
            "{float: [1, 2], lgo: true}",
            "unknown key 'lgo'. Did you mean log? Allowed: float, log, limits, when, else",
        ),
        ("{float: [1, 2], step: 1}", "unknown key 'step'. Allowed: float"),
        ("{choice: [1, 2], log: true}", "unknown key 'log'. Allowed: choice, when, else"),
        ("{float: [2, 1]}", "the range 2.0..1.0 is inverted"),
        ("{float: [0, 1], log: true}", "a log range starts above 0"),
        ("{float: [1, 2], log: yess}", "log is 'yess'; allowed: true, false"),
        ("{float: [1, 2, 3]}", "float is [1, 2, 3]; write two numbers, [low, high]"),
        ("{float: 1}", "float is 1; write two numbers"),
        ("{float: [a, 2]}", "float is ['a', 2]; write two numbers"),
        ("{float: [true, 2]}", "float is [True, 2]; write two numbers"),
        ("{float: [1, 3], limits: [2, 3]}", "the range 1.0..3.0 passes its limits 2.0..3.0"),
        ("{float: [1, 3], limits: 5}", "limits is 5; write two numbers"),
        ("{int: [1.5, 3]}", "int is [1.5, 3]; an int range takes whole numbers"),
        ("{int: [1, 3], limits: [0.5, 9]}", "limits is [0.5, 9]; an int range takes whole numbers"),
        ("{int: [1, 4], step: 2}", "step 2 does not lead from 1 to 4"),
        ("{int: [1, 4], step: x}", "an int range takes whole numbers, not 'x'"),
        ("{int: [3, 1]}", "the range 3..1 is inverted"),
        ("{choice: 8}", "choice is 8; write a list"),
        ("{choice: []}", "a choice needs at least one option"),
        ("{choice: [1, 1]}", "the option 1 is listed twice"),
        ("{choice: [null]}", "an option is a number, text, true or false, not None"),
        ("{choice: [[1]]}", "an option is a number, text, true or false, not [1]"),
        (
            "{choice: [1], else: 2}",
            "`else` says what the knob is where `when` does not hold, and there is no `when`",
        ),
        ("{choice: [1], when: stage == 'pt', else: null}", "`else` has no value"),
        (
            "{choice: [1], when: stage == 'pt', else: [1]}",
            "`else` takes a number, text, true or false, not [1]",
        ),
        ("{choice: [1], when: 5}", "5 is no expression"),
        ("{choice: [1], when: a.b}", "expression 'a.b': 'a.b' is not part of the language"),
    ],
)
def test_mistakes_in_a_knob_name_file_and_knob(read: Read, spec: str, message: str) -> None:
    with pytest.raises(SpaceError) as error:
        read(f"stage: sft\nsearch:\n  knob: {spec}")
    assert str(error.value).startswith(f"demo.yaml: search.knob: {message}")


@pytest.mark.parametrize(
    ("start", "message"),
    [
        ("{a: 1}", "demo.yaml: start is a list of points"),
        ("[5]", "demo.yaml: start point 1 holds 5 where it should map names"),
        ("[{a: 1}, {}]", "demo.yaml, start point 2: it is empty"),
        ("[{aa: 1}]", "demo.yaml, start point 1: unknown knob 'aa'. Did you mean a? Searched: a, b, c, d"),
        ("[{f: 1}]", "demo.yaml, start point 1: f is fixed; a start point sets searched knobs: a, b, c, d"),
        ("[{e: 1}]", "demo.yaml, start point 1: e is derived"),
        ("[{a: 1}, {a: 9}]", "demo.yaml, start point 2: a is 9; allowed: 1.0..2.0"),
        ("[{b: 3}]", "demo.yaml, start point 1: b is 3; allowed: 2..6 in steps of 2"),
        ("[{b: 2.0}]", "demo.yaml, start point 1: b is 2.0; allowed: 2..6 in steps of 2"),
        ("[{c: 16}]", "demo.yaml, start point 1: c is 16; allowed: 8, x"),
        ("[{c: [8]}]", "demo.yaml, start point 1: c is [8]; allowed: 8, x"),
        ("[{a: 1, b: 2, c: 8, d: 1}]", "demo.yaml, start point 1: d does not exist at this point"),
        ("[{a: 1, b: 6, c: 8}]", "demo.yaml, start point 1: the constraint k does not hold here"),
    ],
)
def test_start_points_of_a_file_are_exact(read: Read, start: str, message: str) -> None:
    text = """
stage: sft
fixed: {f: 1}
search:
  a: {float: [1, 2]}
  b: {int: [2, 6], step: 2}
  c: {choice: [8, x]}
  d: {choice: [1, 2], when: c == 'x'}
derived: {e: a * b}
constraints: {k: e <= 5}
start: """
    with pytest.raises(SpaceError) as error:
        read(text + start)
    assert str(error.value).startswith(message)
    assert read(text + "[{a: 1, b: 2, c: x, d: 2}, {b: 6}, {a: 2, b: 2, c: 8}]").start[1] == {"b": 6}


PIECES = st.sampled_from(
    [
        *("stage: sft", "stage: pt", "fixed:", "search:", "derived:", "constraints:", "start:", "guide: 4"),
        *("  a: {float: [1, 2]}", "  b: {int: [1, 4], when: a > 1}", "  b: {int: [0, 9], log: true}"),
        *("  a: {choice: [1, x]}", "  b: {choice: [2], when: a == 1, else: 7}", "description: &x y"),
        *("  a: 1", "  b: a * 2", "  b: 1 / a", "  a: b", "  c: a <= b", "  - a: 1", "  - {a: x, b: 1}"),
    ]
)


@given(st.lists(PIECES, max_size=14).map("\n".join) | st.text(max_size=80))
def test_no_text_raises_anything_but_a_space_error(text: str) -> None:
    try:
        space = read_space(parse_yaml(text.encode("utf-8", "surrogatepass")), "demo", "demo.yaml")
    except SpaceError:
        return
    assert space.settings()[0] >= 1
    assert len(space.fingerprint()) == 16
