from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.counting import first_value
from spaces.errors import SpaceError
from spaces.expressions import Expression
from spaces.load import load_space
from spaces.parameter import Choice, Float, Int, Parameter
from spaces.space import SearchSpace

Read = Callable[[str], SearchSpace]
FIELDS = (
    *("learning_rate", "lora_rank", "lora_alpha", "lora_target", "num_train_epochs", "lora_dropout"),
    *("cutoff_len", "weight_decay", "seed", "lr_scheduler_type"),
)


def knob(space: SearchSpace, name: str) -> Parameter:
    return {knob.name: knob for knob in space.search}[name]


def names(space: SearchSpace) -> list[str]:
    return [knob.name for knob in space.search]


def test_nothing_to_set_changes_nothing(demo: SearchSpace) -> None:
    assert demo.override([]) is demo


def test_one_value_fixes(demo: SearchSpace) -> None:
    space = demo.override(["lora_rank=16", "lora_target=q_proj+v_proj", "cutoff_len=512"])
    assert (space.fixed["lora_rank"], space.fixed["lora_target"], space.fixed["cutoff_len"]) == (
        16,
        "q_proj+v_proj",
        512,
    )
    assert names(space) == ["learning_rate", "alpha_ratio", "num_train_epochs"]
    assert space.walk(first_value)["lora_alpha"] == 16
    assert names(demo)[1] == "lora_rank"  # the old space is as it was


def test_a_range_keeps_log_limits_and_place(demo: SearchSpace) -> None:
    space = demo.override(["learning_rate=1e-5..1e-2", "num_train_epochs=1..3"])
    assert space.search[0] == Float("learning_rate", 1e-5, 1e-2, log=True, limits=(1e-6, 1e-1))
    assert knob(space, "num_train_epochs") == Int("num_train_epochs", 1, 3)
    assert names(space) == names(demo)


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("lora_rank=4..64", Int("lora_rank", 4, 64, log=True)),
        ("lora_rank=4..32", Int("lora_rank", 4, 32)),
        ("lora_dropout=0..1", Float("lora_dropout", 0.0, 1.0)),
        ("lora_dropout=0.01..0.1", Float("lora_dropout", 0.01, 0.1, log=True)),
        ("cutoff_len=512..2048", Int("cutoff_len", 512, 2048)),
        ("weight_decay=1e-4..1e-1", Float("weight_decay", 1e-4, 1e-1, log=True)),
        ("weight_decay=0.0..0.1", Float("weight_decay", 0.0, 0.1)),
        ("seed=1..5", Int("seed", 1, 5)),
        ("lora_alpha=8..64", Int("lora_alpha", 8, 64)),
        ("learning_rate=1e-4..1e-4", Float("learning_rate", 1e-4, 1e-4, log=True, limits=(1e-6, 1e-1))),
        ("num_train_epochs=1e0..1e1", Int("num_train_epochs", 1, 10)),
        (
            "alpha_ratio=0.5..2",
            Float("alpha_ratio", 0.5, 2.0, when=Expression("lora_rank <= 16"), otherwise=1),
        ),
        ("lora_rank=8,16,64", Choice("lora_rank", (8, 16, 64))),
        ("lora_target=qv,q_proj+k_proj", Choice("lora_target", ("qv", "q_proj+k_proj"))),
        ("learning_rate=1e-5, 1e-4", Choice("learning_rate", (1e-5, 1e-4))),
        ("lr_scheduler_type=cosine,linear", Choice("lr_scheduler_type", ("cosine", "linear"))),
        ("alpha_ratio=1,4", Choice("alpha_ratio", (1, 4), Expression("lora_rank <= 16"), 1)),
        (" seed = 1 , 2 ", Choice("seed", (1, 2))),
    ],
)
def test_what_is_searched_after_setting(demo: SearchSpace, assignment: str, expected: Parameter) -> None:
    space = demo.override([assignment], FIELDS)
    assert knob(space, expected.name) == expected
    assert expected.name not in space.fixed
    assert expected.name not in space.derived


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("weight_decay=1e-5", 1e-5),
        ("seed=3", 3),
        ("lr_scheduler_type=linear", "linear"),
        ("lr_scheduler_type='8'", "8"),
        ("lr_scheduler_type=a=b", "a=b"),
        ("lr_scheduler_type=../x", "../x"),
        ("lr_scheduler_type=true", True),
    ],
)
def test_values_are_read_as_yaml_reads_them(demo: SearchSpace, assignment: str, expected: object) -> None:
    fixed = demo.override([assignment], FIELDS).fixed[assignment.split("=")[0]]
    assert fixed == expected
    assert type(fixed) is type(expected)


def test_the_stage_can_be_set(demo: SearchSpace) -> None:
    assert demo.override(["stage=pt"]).walk(first_value)["stage"] == "pt"
    with pytest.raises(SpaceError, match=r"demo\.yaml: stage is 'dpo'; allowed: sft, pt"):
        demo.override(["stage=dpo"])
    with pytest.raises(SpaceError, match="stage takes one value"):
        demo.override(["stage=sft,pt"])


@pytest.mark.parametrize("allowed", [(), FIELDS])
def test_fixing_a_derived_knob_drops_its_derivation_and_its_helper(demo: SearchSpace, allowed: tuple[str, ...]) -> None:
    space = demo.override(["lora_alpha=16"], allowed)
    assert space.fixed["lora_alpha"] == 16
    assert not space.derived
    assert names(space) == ["learning_rate", "lora_rank", "lora_target", "num_train_epochs"]
    assert all("alpha_ratio" not in point for point in space.start)
    space.check_fields(FIELDS)


def test_fixing_a_helper_keeps_it_and_wins_over_its_condition(demo: SearchSpace) -> None:
    space = demo.override(["alpha_ratio=2", "lora_rank=32"])
    assert space.walk(first_value)["lora_alpha"] == 64
    space.check_fields(FIELDS)


HELPERS = """
stage: sft
fixed: {base: 2}
search:
  lora_rank: {choice: [8, 16]}
  ratio: {choice: [1, 2], when: gate > 0}
  gate: {choice: [0, 1]}
  shared: {choice: [1, 2]}
derived:
  scale: ratio * base
  lora_alpha: lora_rank * scale * shared
constraints: {c: shared <= lora_rank}
"""


def test_helpers_go_one_after_the_other_and_shared_ones_stay(read: Read) -> None:
    space = read(HELPERS).override(["lora_alpha=16"], FIELDS)
    assert names(space) == ["lora_rank", "shared"]
    assert space.fixed == {"lora_alpha": 16}
    assert not space.derived


def test_a_training_field_is_never_a_helper(read: Read) -> None:
    text = "stage: sft\nsearch: {NAME: {int: [1, 2]}}\nderived: {lora_alpha: NAME * 8}"
    assert names(read(text.replace("NAME", "seed")).override(["lora_alpha=16"])) == ["seed"]
    other = read(text.replace("NAME", "other"))
    assert names(other.override(["lora_alpha=16"], ("other",))) == ["other"]
    assert names(other.override(["lora_alpha=16"])) == []  # the caller names it no field


def test_setting_a_helper_that_nothing_reads_any_more_is_refused(demo: SearchSpace) -> None:
    with pytest.raises(SpaceError, match=r"'alpha_ratio=2': it has no effect.* once lora_alpha is set"):
        demo.override(["alpha_ratio=2", "lora_alpha=16"])


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("lora_rank", "write knob=16 (fixed), knob=1e-5..1e-2 (a range) or knob=8,16,32 (a choice)"),
        ("lora_rank=", "write knob=16"),
        ("=8", "write knob=16"),
        ("lora_target=[q_proj]", "write knob=16"),
        ("lora_rank=8,", "a value is missing or null; write knob=16"),
        ("lora_rank=null", "a value is missing or null"),
        ("lora_rank=8..", "the bound '' is not a number; write knob=16"),
        ("lora_rank=8..x", "the bound 'x' is not a number"),
        ("lora_rank=1..2..3", "the bound '2..3' is not a number"),
        ("lora_rank=8,8", "the option 8 is listed twice"),
        ("lora_rank=32..8", "the range 32..8 is inverted; write lora_rank=8..32"),
        ("learning_rate=1e-2..1e-5", "the range 0.01..1e-05 is inverted"),
        ("learning_rate=1e-7..1e-2", "1e-07 is beyond the limits of learning_rate, 1e-06..0.1"),
        ("learning_rate=1e-5..1", "1 is beyond the limits of learning_rate, 1e-06..0.1"),
        ("learning_rate=1e-4,1", "1 is beyond the limits of learning_rate, 1e-06..0.1"),
        ("learning_rate=5", "5 is beyond the limits of learning_rate, 1e-06..0.1"),
        ("learning_rate=le-4", "learning_rate takes numbers, not 'le-4'"),
        ("lora_rank=8,x", "lora_rank takes numbers, not 'x'"),
        ("num_train_epochs=0.5..2", "num_train_epochs takes whole numbers, not 0.5..2"),
        ("lora_target=1..2", "a range needs numbers, and lora_target has qv, all"),
        ("lora_dropout=.nan", "a number here is infinite or not a number"),
        ("lora_rnk=8", "unknown knob 'lora_rnk'. Did you mean lora_rank? This space has: lr_scheduler_type,"),
        ("weight_decy=8", "unknown knob 'weight_decy'. Did you mean weight_decay? This space has:"),
    ],
)
def test_bad_assignments(demo: SearchSpace, assignment: str, message: str) -> None:
    with pytest.raises(SpaceError) as error:
        demo.override([assignment], FIELDS)
    assert str(error.value).startswith(f"demo.yaml, set {assignment!r}: {message}")


def test_setting_twice_is_refused(demo: SearchSpace) -> None:
    with pytest.raises(SpaceError, match="lora_rank is set already, by 'lora_rank=8'; keep one"):
        demo.override(["lora_rank=8", "lora_rank=16"])


def test_a_field_unknown_to_caller_and_space_is_refused(demo: SearchSpace) -> None:
    with pytest.raises(SpaceError, match="unknown knob 'weight_decay'"):
        demo.override(["weight_decay=0.1"])


def test_a_step_must_still_lead_from_end_to_end(read: Read) -> None:
    space = read("stage: sft\nsearch: {a: {int: [2, 8], step: 2}}")
    assert knob(space.override(["a=4..10"]), "a") == Int("a", 4, 10, step=2)
    with pytest.raises(SpaceError, match=r"set 'a=1\.\.4': step 2 does not lead from 1 to 4"):
        space.override(["a=1..4"])


def test_a_log_range_stays_above_zero(read: Read) -> None:
    space = read("stage: sft\nsearch: {a: {float: [1, 2], log: true}}")
    with pytest.raises(SpaceError, match=r"set 'a=0\.\.4': a log range starts above 0"):
        space.override(["a=0..4"])


def test_a_constraint_that_can_no_longer_hold_is_refused(demo: SearchSpace) -> None:
    with pytest.raises(SpaceError, match=r"'num_train_epochs \* lora_rank <= 128' can never hold"):
        demo.override(["num_train_epochs=5", "lora_rank=32"])


@pytest.mark.parametrize(
    ("assignments", "expected"),
    [
        (["lora_rank=16"], {"lora_rank": None}),
        (["learning_rate=1e-3..1e-2"], {"learning_rate": 1e-3}),
        (["learning_rate=1e-6..1e-5"], {"learning_rate": 1e-5}),
        (["lora_rank=12,16"], {"lora_rank": 12}),
        (["lora_target=qv,mlp"], {"lora_target": "qv"}),
        (["lora_target=mlp,all"], {"lora_target": "all"}),
        (["num_train_epochs=3..4"], {"num_train_epochs": 3}),
        (["cutoff_len=512,1024"], {"cutoff_len": 1024}),  # was fixed: starts where it was
        (["lora_alpha=8..64"], {"lora_alpha": 16, "alpha_ratio": None}),  # was derived: likewise
        (
            ["lora_rank=32,64", "num_train_epochs=1..2"],
            {"lora_rank": 32, "alpha_ratio": None},
        ),  # `when` fails there
        (["weight_decay=0.0..0.1"], {"weight_decay": None}),  # nothing known: left to the sampler
    ],
)
def test_start_points_are_carried_along(demo: SearchSpace, assignments: list[str], expected: dict[str, object]) -> None:
    (point,) = demo.override(assignments, FIELDS).start
    assert {name: point.get(name) for name in expected} == expected
    untouched = set(demo.start[0]) - set(expected)
    assert all(point[name] == demo.start[0][name] for name in untouched - {a.split("=")[0] for a in assignments})


def test_start_points_that_become_equal_or_empty_or_miss_a_constraint_go(read: Read) -> None:
    space = read(
        """
stage: sft
search: {a: {int: [1, 9]}, b: {int: [1, 9]}}
constraints: {c: a + b <= 10}
start: [{a: 1, b: 2}, {a: 2, b: 2}, {a: 1, b: 8}]
"""
    )
    assert space.override(["a=2..9"]).start == ({"a": 2, "b": 2}, {"a": 2, "b": 8})
    assert space.override(["a=3..9"]).start == ({"a": 3, "b": 2},)
    assert space.override(["a=1", "b=2"]).start == ()


def test_overriding_twice_is_overriding_at_once(demo: SearchSpace) -> None:
    twice = demo.override(["learning_rate=1e-5..1e-2"]).override(["lora_rank=16"])
    assert twice == demo.override(["learning_rate=1e-5..1e-2", "lora_rank=16"])


KNOBS = ("learning_rate", "lora_rank", "alpha_ratio", "lora_alpha", "lora_target", "seed", "stage", "x")
SETTINGS = (
    *("1", "16", "1e-4", "8,16", "8..64", "1e-5..1e-2", "qv", "qv,all", "x", "..", ",", "0..1", "-1", "true"),
    *("1..1", "2..1", "'8'", "1e99", "0.5,1"),
)
ASSIGNMENT = st.builds("{}={}".format, st.sampled_from(KNOBS), st.sampled_from(SETTINGS))


@given(st.lists(ASSIGNMENT | st.text(max_size=20), max_size=3))
def test_any_assignments_give_a_sound_space_or_a_space_error(assignments: list[str]) -> None:
    space = load_space("sft_lora")
    try:
        made = space.override(assignments, FIELDS)
    except SpaceError:
        return
    made.walk(first_value)
    knobs = {knob.name: knob for knob in made.search}
    for point in made.start:
        assert all(knobs[name].contains(value) for name, value in point.items())
