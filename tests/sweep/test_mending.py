"""A remedy in a space: the knob that makes the change, and the settings after it."""

from typing import Any

import pytest

from sweep.mending import Mend, mends, same
from tests.sweep.fakes import make_space

SPACE = make_space("""
stage: sft
search:
  learning_rate: {float: [1e-4, 1e-2], log: true}
  lora_rank: {choice: [8, 16, 32]}
  alpha_ratio: {choice: [1, 2], when: lora_rank <= 16, else: 1}
  warmup_ratio: {float: [0.0, 0.2]}
  effective_batch_size: {choice: [8, 16, 64]}
  num_train_epochs: {int: [2, 5]}
  lr_scheduler_type: {choice: [constant, cosine]}
derived: {lora_alpha: lora_rank * alpha_ratio}
constraints: {small: lora_rank * effective_batch_size <= 512}
""")
BEFORE = {
    "learning_rate": 1e-3,
    "lora_rank": 16,
    "alpha_ratio": 2,
    "warmup_ratio": 0.05,
    "effective_batch_size": 16,
    "num_train_epochs": 3,
    "lr_scheduler_type": "constant",
}


def change(setting: str | None, before: Any, after: Any) -> dict[str, Any]:
    return {"setting": setting, "before": before, "after": after, "words": ""}


def made(setting: str | None, before: Any, after: Any, **settings: Any) -> list[Mend]:
    return list(mends(SPACE, {**BEFORE, **settings}, [change(setting, before, after)]))


@pytest.mark.parametrize(
    ("remedy", "knob", "value"),
    [
        (("learning_rate", 1e-3, 2e-4), "learning_rate", 2e-4),
        (("learning_rate", 1e-3, 2e-5), "learning_rate", 1e-4),
        (("warmup_ratio", 0.05, 0.1), "warmup_ratio", 0.1),
        (("warmup_ratio", 0.05, 0.4), "warmup_ratio", 0.2),
        (("num_train_epochs", 3, 9), "num_train_epochs", 5),
        (("lora_rank", 8, 16), "lora_rank", 16),
        (("lora_rank", 8, 10), "lora_rank", 16),
        (("lr_scheduler_type", "constant", "cosine"), "lr_scheduler_type", "cosine"),
        (("gradient_accumulation_steps", 2, 4), "effective_batch_size", 64),
        (("lora_alpha", 32, 16), "alpha_ratio", 1),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_a_change_is_made_by_the_knob_that_can(remedy: tuple[str, Any, Any], knob: str, value: Any) -> None:
    settings: dict[str, Any] = {"lora_rank": 8} if knob in ("effective_batch_size", "lora_rank") else {}
    first = made(*remedy, **settings)[0]
    assert first == Mend(knob, {**BEFORE, **settings, knob: value})


@pytest.mark.parametrize(
    "remedy",
    [
        ("learning_rate", 1e-4, 2e-5),
        ("num_train_epochs", 2, 1),
        ("val_size", 0.1, 0.2),
        (None, None, None),
        ("learning_rate", None, None),
        ("lr_scheduler_type", "constant", "polynomial"),
        ("gradient_accumulation_steps", None, 4),
    ],
    ids=["at its end", "whole at its end", "no knob", "no setting", "only words", "no option", "unknown before"],
)
def test_what_the_space_does_not_allow_is_not_made(remedy: tuple[str | None, Any, Any]) -> None:
    at_end: dict[str, Any] = {"learning_rate": 1e-4, "num_train_epochs": 2}
    assert made(*remedy, **at_end) == []


def test_what_breaks_a_constraint_is_not_made() -> None:
    assert made("gradient_accumulation_steps", 2, 8) == []
    assert made("gradient_accumulation_steps", 2, 8, lora_rank=8) != []


def test_alpha_is_changed_by_its_ratio_and_then_by_the_rank() -> None:
    assert [(mend.knob, mend.settings[mend.knob]) for mend in made("lora_alpha", 32, 16)] == [
        ("alpha_ratio", 1),
        ("lora_rank", 8),
    ]
    assert [mend.knob for mend in made("lora_alpha", 16, 8, alpha_ratio=1)] == ["lora_rank"]


def test_a_helper_goes_before_the_rank_whatever_its_name() -> None:
    space = make_space("""
stage: sft
search: {lora_rank: {choice: [8, 16]}, strength: {choice: [1, 2]}}
derived: {lora_alpha: lora_rank * strength}
""")
    halved = mends(space, {"lora_rank": 16, "strength": 2}, [change("lora_alpha", 32, 16)])
    assert [mend.knob for mend in halved] == ["strength", "lora_rank"]


def test_a_knob_that_is_no_more_asked_for_is_left_out() -> None:
    (mend,) = made("lora_rank", 16, 32)
    assert mend.settings == {name: value for name, value in BEFORE.items() if name != "alpha_ratio"} | {"lora_rank": 32}


def test_a_knob_that_the_trial_did_not_have_is_not_invented() -> None:
    without = {name: value for name, value in BEFORE.items() if name != "alpha_ratio"} | {"lora_rank": 32}
    assert list(mends(SPACE, without, [change("lora_rank", 32, 16)])) == []


def test_a_trial_of_other_ranges_is_not_brought_back_into_these() -> None:
    assert made("num_train_epochs", 3, 4, learning_rate=5e-2) == []


def test_changes_come_in_the_order_of_the_remedy() -> None:
    remedy = [change("warmup_ratio", 0.05, 0.1), change("learning_rate", 1e-3, 5e-4)]
    assert [mend.knob for mend in mends(SPACE, BEFORE, remedy)] == ["warmup_ratio", "learning_rate"]


@pytest.mark.parametrize(
    ("changed", "is_same"),
    [
        ({}, True),
        ({"learning_rate": 1.2e-3}, True),
        ({"learning_rate": 0.85e-3}, True),
        ({"learning_rate": 1.3e-3}, False),
        ({"warmup_ratio": 0.065}, True),
        ({"warmup_ratio": 0.075}, False),
        ({"lora_rank": 8}, False),
        ({"num_train_epochs": 4}, False),
        ({"lr_scheduler_type": "cosine"}, False),
        ({"gone": 1}, False),
    ],
    ids=str,
)
def test_settings_that_hardly_differ_are_the_same(changed: dict[str, Any], is_same: bool) -> None:
    assert same(SPACE, BEFORE, BEFORE | changed) is is_same
