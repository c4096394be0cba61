import dataclasses
import itertools
import pickle
import random
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from spaces.counting import first_value, last_value
from spaces.errors import SpaceError
from spaces.parameter import Float, Int, Parameter, Scalar
from spaces.reading import read_space
from spaces.space import SearchSpace
from spaces.yamlfile import parse_yaml

Read = Callable[[str], SearchSpace]


def pick(values: dict[str, Scalar]) -> Callable[[Parameter], Scalar]:
    return lambda knob: values.get(knob.name, first_value(knob))


def test_walk_gives_stage_fixed_searched_and_derived(demo: SearchSpace) -> None:
    assert demo.walk(pick({"lora_rank": 16, "alpha_ratio": 2})) == {
        "stage": "sft",
        "lr_scheduler_type": "cosine",
        "lora_dropout": 0.0,
        "cutoff_len": 1024,
        "learning_rate": 1e-4,
        "lora_rank": 16,
        "alpha_ratio": 2,
        "lora_target": "qv",
        "num_train_epochs": 2,
        "lora_alpha": 32,
    }


def test_walk_asks_only_for_what_exists_and_takes_else_instead(demo: SearchSpace) -> None:
    asked: list[str] = []

    def suggest(knob: Parameter) -> Scalar:
        asked.append(knob.name)
        return last_value(knob)

    params = demo.walk(suggest)
    assert asked == ["learning_rate", "lora_rank", "lora_target", "num_train_epochs"]
    assert (params["lora_rank"], params["alpha_ratio"], params["lora_alpha"]) == (32, 1, 32)


def test_absence_spreads_to_what_reads_the_absent_knob(read: Read) -> None:
    space = read(
        """
stage: pt
search:
  a: {choice: [1, 2]}
  b: {choice: [1, 2], when: a == 2}
  c: {choice: [1, 2], when: b == 2}
derived: {d: a + b, e: d * 2, f: a}
constraints: {k: d <= 3, m: a <= 1}
"""
    )
    absent = space.walk(pick({"a": 1}))
    assert absent == {"stage": "pt", "a": 1, "f": 1}
    assert space.violations(absent) == {"m": 0}
    present = space.walk(pick({"a": 2, "b": 2}))
    assert present == {"stage": "pt", "a": 2, "b": 2, "c": 1, "d": 4, "e": 8, "f": 2}
    assert space.violations(present) == {"k": 1, "m": 1}


def test_a_condition_may_read_fixed_derived_and_stage_and_come_before_them(read: Read) -> None:
    space = read(
        """
stage: sft
fixed: {flag: true}
search:
  late: {choice: [1], when: double > 4 and flag and stage == 'sft'}
  base: {int: [1, 4]}
derived: {quadruple: double * 2, double: base * 2}
"""
    )
    assert "late" not in space.walk(pick({"base": 2}))
    params = space.walk(pick({"base": 3}))
    assert params == {"stage": "sft", "flag": True, "base": 3, "double": 6, "late": 1, "quadruple": 12}


def test_searched_knobs_come_in_file_order_where_nothing_else_asks(demo: SearchSpace) -> None:
    asked: list[str] = []

    def suggest(knob: Parameter) -> Scalar:
        asked.append(knob.name)
        return first_value(knob)

    demo.walk(suggest)
    assert asked == [knob.name for knob in demo.search]


def test_walk_copies_lists(read: Read) -> None:
    space = read("stage: sft\nfixed: {lora_target: [q_proj, v_proj]}")
    space.walk(first_value)["lora_target"].append("x")
    assert space.walk(first_value)["lora_target"] == ["q_proj", "v_proj"]


def test_violations_name_each_constraint(demo: SearchSpace) -> None:
    assert demo.violations({"num_train_epochs": 5, "lora_rank": 32}) == {"not_too_long": 32}
    assert demo.violations({"num_train_epochs": 4, "lora_rank": 32}) == {"not_too_long": 0}
    assert demo.violations({"num_train_epochs": 4}) == {}


def test_a_failing_expression_names_file_and_knob(read: Read) -> None:
    space = read("stage: sft\nsearch: {a: {int: [-1, 1]}}\nderived: {b: 1 / a}")  # fails in the middle alone
    with pytest.raises(SpaceError, match=r"^demo\.yaml, b: expression '1 / a': division by zero$"):
        space.walk(pick({"a": 0}))


def test_settings_counts_what_differs(demo: SearchSpace) -> None:
    # rank 8 and 16 with two ratios each, rank 32 with one: 5; times two targets, times four epochs
    assert demo.settings() == (40, ("learning_rate",))


def test_settings_agrees_with_brute_force(read: Read) -> None:
    space = read(
        """
stage: sft
search:
  a: {int: [1, 4]}
  b: {choice: [x, y, z], when: twice > 4}
  c: {choice: [1, 2], when: b == 'x', else: 9}
  free: {int: [0, 10, ], step: 5}
  real: {float: [0, 1]}
  point: {float: [2, 2]}
derived: {twice: a * 2}
"""
    )
    outcomes = set()
    for a, b, c, free in itertools.product((1, 2, 3, 4), "xyz", (1, 2), (0, 5, 10)):
        outcomes.add(tuple(space.walk(pick({"a": a, "b": b, "c": c, "free": free})).items()))
    assert space.settings() == (len(outcomes), ("real",)) == (30, ("real",))


def test_settings_of_a_huge_space_is_the_plain_product(read: Read) -> None:
    space = read("stage: sft\nsearch: {a: {int: [1, 1000000]}, b: {choice: [1, 2], when: a > 1}}")
    assert space.settings() == (2_000_000, ())


def test_settings_of_a_fixed_space_is_one(read: Read) -> None:
    assert read("stage: sft\nfixed: {a: 1}").settings() == (1, ())


BASE = """
description: d
guide: "4.2"
stage: sft
fixed: {f: 1}
search:
  a: {float: [1, 2], limits: [0, 9]}
  b: {int: [1, 2], when: a > 1}
derived: {c: a*b}
constraints: {k: b <= 2}
start: [{a: 1}]
"""


def test_fingerprint_is_stable() -> None:
    first, second = (read_space(parse_yaml(BASE.encode()), n, p) for n, p in (("x", "x.yaml"), ("y", "/y.yaml")))
    assert first.fingerprint() == second.fingerprint() == "43d7a0f676c703df"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("description: d", "description: other"),
        ('guide: "4.2"', 'guide: "4.1"'),
        ("limits: [0, 9]", "limits: [0, 8]"),
        (", limits: [0, 9]", ""),
        ("start: [{a: 1}]", "start: []"),
        ("c: a*b", "c: (a * b)"),
        ("k: b <= 2", "other: b<=2"),
        ("fixed: {f: 1}", "fixed: { f: 1 } # why"),
    ],
)
def test_fingerprint_ignores_what_changes_nothing(read: Read, old: str, new: str) -> None:
    assert old in BASE
    assert read(BASE.replace(old, new)).fingerprint() == read(BASE).fingerprint()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("stage: sft", "stage: pt"),
        ("fixed: {f: 1}", "fixed: {f: 2}"),
        ("fixed: {f: 1}", "fixed: {g: 1}"),
        ("float: [1, 2]", "float: [1, 3]"),
        ("limits: [0, 9]", "log: true"),
        ("int: [1, 2]", "choice: [1, 2]"),
        ("when: a > 1", "when: a > 1.5"),
        ("when: a > 1", "when: a > 1, else: 2"),
        ("c: a*b", "c: a+b"),
        ("k: b <= 2", "k: b < 2"),
    ],
)
def test_fingerprint_sees_what_changes_the_search(read: Read, old: str, new: str) -> None:
    assert old in BASE
    assert read(BASE.replace(old, new)).fingerprint() != read(BASE).fingerprint()


def test_to_dict_is_what_a_file_holds(read: Read, demo: SearchSpace) -> None:
    plain = demo.to_dict()
    assert plain.pop("name") == "demo"
    again = read(yaml.safe_dump(plain, sort_keys=False))
    assert again == demo
    assert again.to_dict() == demo.to_dict()


def test_a_space_survives_pickling(demo: SearchSpace) -> None:
    copy = pickle.loads(pickle.dumps(demo))
    assert copy == demo
    assert copy.walk(last_value) == demo.walk(last_value)


def test_a_space_made_in_code_is_checked_and_named_by_its_name() -> None:
    knobs = (Float("a", 0, 1), Int("a", 0, 1))
    with pytest.raises(SpaceError, match=r"^mine: search\.a: a is in search already"):
        SearchSpace("mine", "", "", "sft", {}, knobs)
    assert SearchSpace("mine", "", "", "sft", {}, knobs[:1]).source == "mine"


def test_replacing_a_part_checks_again(demo: SearchSpace) -> None:
    with pytest.raises(SpaceError, match="unknown knob 'alpha_ratio'"):
        dataclasses.replace(demo, search=(), start=())


FIELDS = (
    *("lr_scheduler_type", "lora_dropout", "cutoff_len", "learning_rate", "lora_rank"),
    *("lora_target", "num_train_epochs", "lora_alpha", "seed"),
)


def test_check_fields_lets_helpers_pass(demo: SearchSpace) -> None:
    demo.check_fields(FIELDS)


@pytest.mark.parametrize("place", ["fixed: {sede: 1}", "search: {sede: {int: [1, 2]}}", "derived: {sede: 1 + 1}"])
def test_check_fields_refuses_and_guesses(read: Read, place: str) -> None:
    with pytest.raises(SpaceError, match=r"^demo\.yaml, sede: not a training field.* Did you mean seed\?"):
        read(f"stage: sft\n{place}").check_fields(FIELDS)


def test_check_fields_counts_reading_by_conditions_and_constraints(read: Read) -> None:
    text = """
stage: sft
fixed: {h: 1, g: 2}
search: {seed: {int: [1, 2], when: h > 0}}
constraints: {c: g <= 2}
"""
    read(text).check_fields(FIELDS)
    with pytest.raises(SpaceError, match="g: not a training field"):
        read(text.replace("g <= 2", "h <= 2")).check_fields(FIELDS)


def test_random_walks_stay_inside(demo: SearchSpace) -> None:
    rng = random.Random(0)

    def suggest(knob: Parameter) -> Scalar:
        return rng.uniform(knob.low, knob.high) if isinstance(knob, Float) else rng.choice(list(knob.values()))

    seen: set[Any] = set()
    for _ in range(300):
        params = demo.walk(suggest)
        assert params["lora_alpha"] == params["lora_rank"] * params["alpha_ratio"] <= 32
        seen.add((params["lora_rank"], params["alpha_ratio"]))
    assert seen == {(8, 1), (8, 2), (16, 1), (16, 2), (32, 1)}
