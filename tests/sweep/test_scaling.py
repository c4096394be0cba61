"""Learning rates that move to fit the model, and what a study remembers of it."""

from dataclasses import replace
from typing import Any

import pytest

from spaces.load import load_space
from sweep.errors import SweepError
from sweep.scaling import Scaling, may_scale, scale_learning_rate, usual_learning_rate
from sweep.study import Identity, check_identity
from tests.sweep.fakes import BUDGET, make_ready, make_space
from trials.protocol import ModelFacts

SMALL = replace(make_ready().model, hidden_size=576, parameters=134_515_008)
LARGE = replace(SMALL, hidden_size=2048, parameters=1_200_000_000)


def scaled(space: str = "sft_lora", mode: str = "auto", model: ModelFacts = SMALL) -> Scaling:
    return scale_learning_rate(load_space(space), mode, model)


def test_the_range_moves_by_the_width_to_the_power_of_078() -> None:
    scaling = scaled()
    assert scaling.factor == pytest.approx((4096 / 576) ** 0.78, rel=1e-3)
    assert scaling.space.to_dict()["search"]["learning_rate"]["float"] == [4.6e-4, 9.2e-4]
    assert scaling.space.start[0]["learning_rate"] == 4.6e-4


@pytest.mark.parametrize(
    ("space", "done"),
    [
        ("sft_lora", "1e-4..2e-4 moved to 4.6e-4..9.2e-4"),
        ("lora_targets", "5e-5, 1e-4, 2e-4, 5e-4 moved to 2.3e-4, 4.6e-4, 9.2e-4, 2.3e-3"),
        ("max_performance", "2e-4 moved to 9.2e-4"),
    ],
    ids=["range", "options", "fixed"],
)
def test_what_was_done_is_told(space: str, done: str) -> None:
    scaling = scaled(space)
    assert scaling.note == (
        f"the guide's learning rates are for models of billions of parameters; yours has 135M: {done} "
        "(keep them with --scale-lr off)"
    )
    assert scaling.told == f"{done}, for a model of 135M parameters, 576 wide"


def test_a_limit_that_cuts_is_told() -> None:
    space = make_space("stage: sft\nsearch: {learning_rate: {float: [1e-2, 4e-2], log: true, limits: [1e-6, 0.1]}}")
    assert "0.01..0.04 moved to 0.046..0.1, cut at its limit 0.1" in scale_learning_rate(space, "on", SMALL).told


def test_a_large_model_has_the_guides_range_unless_it_is_asked_for() -> None:
    assert scaled(model=LARGE) == Scaling(load_space("sft_lora"))
    asked = scaled(mode="on", model=LARGE)
    assert asked.factor == pytest.approx(2**0.78, rel=1e-2)
    assert "moved by your model's width (2048)" in str(asked.note)


def test_a_model_as_wide_as_the_guides_is_left() -> None:
    assert scaled(mode="on", model=replace(LARGE, hidden_size=4096)).factor == 1


def test_a_space_without_a_learning_rate_is_left() -> None:
    space = make_space("stage: sft\nsearch: {lora_rank: {choice: [8, 16]}}")
    assert scale_learning_rate(space, "on", SMALL) == Scaling(space)


@pytest.mark.parametrize(
    ("mode", "space", "assignments", "may"),
    [
        ("auto", "sft_lora", [], True),
        ("auto", "sft_lora", ["lora_rank=16"], True),
        ("auto", "sft_lora", ["learning_rate=1e-4..2e-4"], False),
        ("on", "sft_lora", [" learning_rate = 1e-4"], False),
        ("off", "sft_lora", [], False),
        ("auto", "mine.yaml", [], False),
        ("on", "mine.yaml", [], True),
    ],
)
def test_what_the_user_set_is_not_moved(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, mode: str, space: str, assignments: list[str], may: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("stage: sft\nsearch: {learning_rate: {choice: [1e-4, 1e-3]}}\n")
    assert may_scale(mode, space, assignments) is may


def identity(scaling: Scaling | None, name: str = "tiny", loaded: bool = True) -> Identity:
    ready = make_ready(model=name) if loaded else None
    return Identity.of(load_space("sft_lora"), BUDGET, 7, ready, scaling)


UNMOVED = Scaling(load_space("sft_lora"))


def test_a_study_keeps_the_range_that_was_searched_and_the_one_that_was_asked_for() -> None:
    kept = identity(scaled()).to_dict()
    bounds = [kept["space"][part]["search"]["learning_rate"]["float"] for part in ("resolved", "asked")]
    assert bounds == [[4.6e-4, 9.2e-4], [1e-4, 2e-4]]
    assert kept["scaling"] == {"factor": 4.62, "told": scaled().told}


def test_the_same_line_goes_on_before_and_after_loading() -> None:
    stored = identity(scaled()).to_dict()
    check_identity("demo", stored, identity(None, loaded=False))
    check_identity("demo", stored, identity(scaled()))


@pytest.mark.parametrize("loaded", [False, True])
def test_off_is_refused_where_rates_were_moved(loaded: bool) -> None:
    with pytest.raises(SweepError, match=r"learning rates moved by 4.62 to fit the model, now left as they are"):
        check_identity("demo", identity(scaled()).to_dict(), identity(UNMOVED, loaded=loaded))


def test_a_study_from_before_rates_moved_is_refused_with_the_way_on() -> None:
    stored = identity(UNMOVED).to_dict()
    for old in (stored, {key: value for key, value in stored.items() if key != "scaling"}):
        with pytest.raises(SweepError, match=r"as the space has them, now moved by 4.62 .*not with --scale-lr off"):
            check_identity("demo", old, identity(scaled()))
        check_identity("demo", old, identity(UNMOVED))


def test_another_model_is_the_difference_that_is_named() -> None:
    found = identity(UNMOVED, name="big").differences(identity(scaled()).to_dict())
    assert found == ["another model (tiny, now big)"]


def test_a_space_that_differs_is_compared_as_it_was_asked_for() -> None:
    now = Identity.of(load_space("sft_lora").override(["lora_rank=8,16"]), BUDGET, 7)
    (found,) = now.differences(identity(scaled()).to_dict())
    assert found == "another version of the space sft_lora (differs in lora_rank)"


def test_what_is_usual_moves_with_the_width_of_small_models_only() -> None:
    assert usual_learning_rate(SMALL) == pytest.approx(2e-4 * (4096 / 576) ** 0.78, rel=1e-3)
    assert usual_learning_rate(LARGE) == 2e-4
