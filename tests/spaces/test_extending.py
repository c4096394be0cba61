"""A space file that extends another: what it takes, what it replaces, and what it says when that cannot be."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from spaces.counting import first_value
from spaces.errors import SpaceError
from spaces.load import load_space
from spaces.parameter import Choice, Float
from spaces.space import SearchSpace

PARENT = """
description: The parent.
guide: "4.2"
stage: sft
fixed: {lr_scheduler_type: cosine, cutoff_len: 1024}
search:
  learning_rate: {float: [1e-4, 2e-4], log: true, limits: [1e-6, 1e-1]}
  lora_rank: {choice: [8, 16, 32]}
  alpha_ratio: {choice: [1, 2], when: lora_rank <= 16, else: 1}
derived: {lora_alpha: lora_rank * alpha_ratio}
constraints: {small: lora_alpha <= 64}
start: [{learning_rate: 1e-4, lora_rank: 8, alpha_ratio: 2}]
"""
Extend = Callable[[str], SearchSpace]


@pytest.fixture
def extend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Extend:
    """Loads child.yaml with some text, in a folder where parent.yaml is."""
    (tmp_path / "parent.yaml").write_text(PARENT)
    monkeypatch.chdir(tmp_path)

    def write(text: str) -> SearchSpace:
        (tmp_path / "child.yaml").write_text(f"extends: parent.yaml\n{text}")
        return load_space("child.yaml")

    return write


def complaint(path: str) -> str:
    with pytest.raises(SpaceError) as error:
        load_space(path)
    return str(error.value)


def names(space: SearchSpace) -> list[str]:
    return [knob.name for knob in space.search]


# --- what it takes and what it replaces


def test_a_child_that_changes_nothing_is_its_parent_under_another_name(extend: Extend) -> None:
    child, parent = extend(""), load_space("parent.yaml")
    assert child.to_dict() == parent.to_dict() | {"name": "child"}
    assert (child.source, child.fingerprint()) == ("child.yaml", parent.fingerprint())


def test_wording_and_stage_are_replaced_where_given(extend: Extend) -> None:
    child = extend("description: The child.\nstage: pt")
    assert (child.description, child.guide, child.stage) == ("The child.", "4.2", "pt")
    assert extend('guide: "4.1"').guide == "4.1"


def test_fixing_replaces_what_was_searched_or_derived(extend: Extend) -> None:
    child = extend("fixed: {lora_rank: 16, cutoff_len: 512}")
    assert child.fixed == {"lr_scheduler_type": "cosine", "cutoff_len": 512, "lora_rank": 16}
    assert names(child) == ["learning_rate", "alpha_ratio"]
    child = extend("fixed: {lora_alpha: 16}")
    assert not child.derived
    assert names(child) == ["learning_rate", "lora_rank"]  # alpha_ratio has nothing to say any more


def test_searching_replaces_a_knob_whole_and_in_its_place(extend: Extend) -> None:
    child = extend("search: {learning_rate: {float: [1e-5, 1e-3]}, cutoff_len: {choice: [512, 1024]}}")
    assert child.search[0] == Float("learning_rate", 1e-5, 1e-3)
    assert child.search[-1] == Choice("cutoff_len", (512, 1024))
    assert "cutoff_len" not in child.fixed


def test_derived_and_constraints_are_merged(extend: Extend) -> None:
    child = extend("derived: {lora_rank: 4 * 2}\nconstraints: {small: lora_alpha <= 8, large: lora_alpha >= 8}")
    assert names(child) == ["learning_rate", "alpha_ratio"]
    assert set(child.derived) == {"lora_alpha", "lora_rank"}
    assert [constraint.text for constraint in child.constraints] == ["lora_alpha <= 8", "lora_alpha >= 8"]


def test_what_the_child_writes_itself_stays_though_nothing_reads_it(extend: Extend) -> None:
    child = extend("fixed: {alpha_ratio: 1, lora_alpha: 16}")
    assert child.fixed["alpha_ratio"] == 1
    with pytest.raises(SpaceError, match="alpha_ratio: not a training field"):
        child.check_fields(("learning_rate", "lora_rank", "lora_alpha", "lr_scheduler_type", "cutoff_len"))


def test_start_points_are_carried_to_what_is_allowed(extend: Extend) -> None:
    child = extend("search: {learning_rate: {float: [3e-4, 5e-4]}}\nfixed: {alpha_ratio: 1}")
    assert [dict(point) for point in child.start] == [{"learning_rate": 3e-4, "lora_rank": 8}]
    assert [dict(point) for point in extend("start: [{lora_rank: 32}]").start] == [{"lora_rank": 32}]
    assert extend("start: []").start == ()


# --- where the parent is


def test_a_shipped_space_is_extended_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("extends: sft_lora\nfixed: {lora_rank: 16}")
    child, parent = load_space(str(path)), load_space("sft_lora")
    assert child.walk(first_value) == parent.walk(first_value) | {"lora_rank": 16, "lora_alpha": 16}


def test_a_relative_path_starts_at_the_file_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "parent.yaml").write_text(PARENT)
    (tmp_path / "deep" / "middle.yaml").write_text("extends: ../parent.yaml\nfixed: {lora_rank: 8}")
    (tmp_path / "deep" / "child.yaml").write_text("extends: middle.yaml\nfixed: {alpha_ratio: 1}")
    child = load_space(str(tmp_path / "deep" / "child.yaml"))
    assert names(child) == ["learning_rate"]
    assert child.walk(first_value)["lora_alpha"] == 8


# --- what cannot be


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fixed: {lora_rank: 8}\nsearch: {lora_rank: {choice: [4]}}",
            "search.lora_rank: lora_rank is in fixed already",
        ),
        ("search: {lora_rank: 8}", "search.lora_rank: 8 is no search"),
        ("derived: {lora_alpha: lora_rang}", "derived.lora_alpha: unknown knob 'lora_rang'. Did you mean lora_rank?"),
        ("fixed: {lora_alpha: 128}", "constraints.small: 'lora_alpha <= 64' can never hold with lora_alpha = 128"),
        ("stage: dpo", "stage is 'dpo'; allowed: sft, pt"),
        ("start: [{lora_rank: 4}]", "start point 1: lora_rank is 4; allowed: 8, 16, 32"),
    ],
)
def test_a_mistake_names_the_file_and_the_knob(extend: Extend, text: str, message: str) -> None:
    with pytest.raises(SpaceError) as error:
        extend(text)
    assert str(error.value).startswith("child.yaml")
    assert message in str(error.value)


def test_a_mistake_of_the_parent_names_the_parent(extend: Extend) -> None:
    Path("parent.yaml").write_text("stage: sft\nsearch: {lora_rank: 8}")
    with pytest.raises(SpaceError, match=r"^parent\.yaml: search\.lora_rank: 8 is no search"):
        extend("")


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("nowhere.yaml", "child.yaml, extends: nowhere.yaml: there is no such file"),
        ("sft_lore", "child.yaml, extends: no space named 'sft_lore'. Did you mean sft_lora?"),
        ("[sft_lora]", "child.yaml: extends is ['sft_lora']; write one shipped space's name, or a path"),
        ('""', "child.yaml: extends is ''; write one"),
        ('"a\\0b.yaml"', "child.yaml, extends: a\x00b.yaml: there is no such file"),
    ],
)
def test_a_parent_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("child.yaml").write_text(f"extends: {named}\n")
    assert complaint("child.yaml").startswith(message)


def test_a_circle_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, parent in (("c", "a"), ("a", "b"), ("b", "./a")):
        Path(f"{name}.yaml").write_text(f"extends: {parent}.yaml\n")
    wanted = "b.yaml, extends: spaces extend each other in a circle: a.yaml -> b.yaml -> a.yaml"
    assert complaint("c.yaml") == complaint("a.yaml") == wanted
    os.symlink("a.yaml", "me.yaml")
    Path("a.yaml").write_text("extends: me.yaml\n")
    assert complaint("a.yaml") == "a.yaml, extends: spaces extend each other in a circle: a.yaml -> me.yaml"


def test_a_long_line_of_ancestors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "0.yaml").write_text(PARENT)
    for number in range(1, 9):
        (tmp_path / f"{number}.yaml").write_text(f"extends: {number - 1}.yaml\n")
    assert load_space(str(tmp_path / "7.yaml")).guide == "4.2"
    assert "more than 8 spaces that extend each other" in complaint(str(tmp_path / "8.yaml"))
