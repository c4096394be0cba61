"""A knob that is moved by a factor, and a range that is widened."""

from collections.abc import Callable

import pytest

from spaces.errors import SpaceError
from spaces.load import is_shipped, list_spaces
from spaces.moving import moved, widened
from spaces.parameter import Float, Parameter
from spaces.space import SearchSpace

Read = Callable[[str], SearchSpace]


def rate(space: SearchSpace) -> Parameter:
    return next(knob for knob in space.search if knob.name == "learning_rate")


def space_of(read: Read, knob: str, start: str = "") -> SearchSpace:
    begin = f"start:\n  - {{learning_rate: {start}}}\n" if start else ""
    return read(f"stage: sft\nsearch:\n  learning_rate: {knob}\n{begin}")


def test_a_range_moves_with_its_start_point_and_keeps_the_rest(demo: SearchSpace) -> None:
    after = moved(demo, "learning_rate", 4.62)
    assert rate(after) == Float("learning_rate", 4.6e-4, 9.2e-4, log=True, limits=(1e-6, 1e-1))
    assert after.start == ({**demo.start[0], "learning_rate": 4.6e-4},)
    assert after.search[1:] == demo.search[1:]
    assert rate(demo) == Float("learning_rate", 1e-4, 2e-4, log=True, limits=(1e-6, 1e-1))


def test_options_move_and_a_start_point_with_its_option(read: Read) -> None:
    after = moved(space_of(read, "{choice: [5e-5, 1e-4, 2e-4]}", "1e-4"), "learning_rate", 4.62)
    assert rate(after).spec() == {"choice": [2.3e-4, 4.6e-4, 9.2e-4]}
    assert after.start == ({"learning_rate": 4.6e-4},)


def test_options_that_two_digits_would_make_equal_keep_more(read: Read) -> None:
    after = moved(space_of(read, "{choice: [1e-4, 1.01e-4]}", "1.01e-4"), "learning_rate", 2.0)
    assert rate(after).spec() == {"choice": [2e-4, 2.02e-4]}
    assert after.start == ({"learning_rate": 2.02e-4},)


def test_a_fixed_value_moves(read: Read) -> None:
    space = read("stage: sft\nfixed: {learning_rate: 2e-4, lora_rank: 8}\nsearch: {lora_alpha: {choice: [8, 16]}}")
    assert moved(space, "learning_rate", 4.62).fixed == {"learning_rate": 9.2e-4, "lora_rank": 8}


@pytest.mark.parametrize(
    ("knob", "factor", "bounds"),
    [
        ("{float: [1e-2, 4e-2], log: true, limits: [1e-6, 1e-1]}", 5.0, [5e-2, 1e-1]),
        ("{float: [2e-6, 4e-5], log: true, limits: [1e-6, 1e-1]}", 0.1, [1e-6, 4e-6]),
        ("{float: [3e-2, 4e-2], log: true, limits: [1e-6, 1e-1]}", 50.0, [1e-1, 1e-1]),
        ("{float: [1e-2, 1e-2], log: true}", 3.0, [3e-2, 3e-2]),
    ],
    ids=["upper limit", "lower limit", "wholly beyond", "a single value"],
)
def test_a_range_is_cut_at_its_limits(read: Read, knob: str, factor: float, bounds: list[float]) -> None:
    assert rate(moved(space_of(read, knob), "learning_rate", factor)).spec()["float"] == bounds


def test_a_start_point_stays_in_a_range_that_was_cut(read: Read) -> None:
    space = space_of(read, "{float: [1e-2, 4e-2], log: true, limits: [1e-6, 1e-1]}", "4e-2")
    assert moved(space, "learning_rate", 5.0).start == ({"learning_rate": 1e-1},)


@pytest.mark.parametrize(
    "text",
    [
        "search: {learning_rate: {choice: [fast, 1e-4]}}",
        "search: {learning_rate: {int: [1, 3]}}",
        "search: {lora_rank: {choice: [8, 16]}}\nderived: {learning_rate: lora_rank / 1000}",
        "search: {lora_rank: {choice: [8, 16]}}",
    ],
    ids=["text", "whole numbers", "derived", "absent"],
)
def test_what_cannot_be_moved_stays(read: Read, text: str) -> None:
    space = read(f"stage: sft\n{text}\n")
    assert moved(space, "learning_rate", 4.62) is space


@pytest.mark.parametrize("space", list_spaces(), ids=lambda space: space.name)
def test_every_shipped_space_moves_up_and_down(space: SearchSpace) -> None:
    for factor in (0.58, 4.62, 44.0):
        assert moved(space, "learning_rate", factor) != space


def test_a_range_is_widened_and_the_rest_stays(demo: SearchSpace) -> None:
    after = widened(demo, "learning_rate", 1e-4, 6e-4)
    assert rate(after) == Float("learning_rate", 1e-4, 6e-4, log=True, limits=(1e-6, 1e-1))
    assert after.start == demo.start
    assert widened(demo, "num_train_epochs", 1.0, 5.0).search[4].spec() == {"int": [1, 5]}


def test_a_range_is_not_widened_beyond_its_limits(demo: SearchSpace) -> None:
    with pytest.raises(SpaceError, match="passes its limits"):
        widened(demo, "learning_rate", 1e-4, 0.2)


@pytest.mark.parametrize("name", ["lora_rank", "lora_alpha", "lora_dropout"])
def test_what_is_no_range_is_not_widened(demo: SearchSpace, name: str) -> None:
    assert widened(demo, name, 1, 2) is demo


def test_a_knob_is_shipped_when_a_shipped_file_states_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("spaces")
    (folder / "kept.yaml").write_text("extends: sft_lora\nfixed: {lora_rank: 16}\n")
    (folder / "mine.yaml").write_text("extends: sft_lora\nsearch: {learning_rate: {choice: [1e-4, 1e-3]}}\n")
    (folder / "grandchild.yaml").write_text("extends: mine.yaml\nfixed: {lora_rank: 16}\n")
    (folder / "whole.yaml").write_text("stage: sft\nsearch: {learning_rate: {choice: [1e-4, 1e-3]}}\n")
    (folder / "none.yaml").write_text("stage: sft\nsearch: {lora_rank: {choice: [8]}}\n")
    files = sorted(folder.glob("*.yaml"))
    assert [file.stem for file in files if is_shipped(str(file), "learning_rate")] == ["kept"]
    assert len(files) == 5
    assert is_shipped("max_performance", "learning_rate")
