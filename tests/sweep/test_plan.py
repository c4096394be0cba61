"""From what a space gives to a trial's settings."""

from dataclasses import replace
from typing import Any

import optuna
import pytest

from spaces.counting import first_value, last_value
from spaces.errors import SpaceError
from spaces.load import list_spaces
from spaces.parameter import Choice, Float, Int, Parameter
from spaces.space import SearchSpace
from sweep.plan import KNOBS, check_searched, drop_idle_epochs, suggest
from tests.sweep.fakes import BUDGET, SPACE, make_plan, make_ready, make_space
from trials.errors import ConfigError

EPOCHS = """
stage: sft
search:
  num_train_epochs: {%s}
  lora_rank: {choice: [8, 16]}
start:
  - {num_train_epochs: 3, lora_rank: 8}
"""
PARAMS: dict[str, Any] = {"stage": "sft", "lora_rank": 16, "lora_alpha": 32.0, "learning_rate": 1e-3}


def test_alpha_comes_from_rank_and_ratio() -> None:
    params = make_space().walk(lambda parameter: {"lora_rank": 16, "alpha_ratio": 2}.get(parameter.name, 1e-3))
    config = make_plan().config(params)
    assert (config.lora_rank, config.lora_alpha) == (16, 32)


def test_a_whole_alpha_is_a_whole_number() -> None:
    assert isinstance(make_plan().config(PARAMS).lora_alpha, int)


def test_an_alpha_between_whole_numbers_is_kept() -> None:
    assert make_plan().config(PARAMS | {"lora_alpha": 22.5}).lora_alpha == 22.5


def test_the_effective_batch_is_split_by_what_the_device_takes() -> None:
    config = make_plan(ready=make_ready(device="cpu")).config(PARAMS | {"effective_batch_size": 32})
    assert (config.per_device_train_batch_size, config.gradient_accumulation_steps) == (8, 4)


def test_rows_that_are_asked_for_split_the_batch_and_leave_the_trial_the_same() -> None:
    plan = make_plan()
    asked, plain = (p.config(PARAMS | {"effective_batch_size": 32}) for p in (replace(plan, rows_at_once=16), plan))
    assert (asked.per_device_train_batch_size, asked.gradient_accumulation_steps) == (16, 2)
    assert plain.per_device_train_batch_size == 8
    assert asked.fingerprint() == plain.fingerprint()


def test_a_full_device_gets_one_row_at_a_time() -> None:
    config = make_plan(ready=make_ready(free_bytes=1)).config(PARAMS | {"effective_batch_size": 32})
    assert (config.per_device_train_batch_size, config.gradient_accumulation_steps) == (1, 32)


@pytest.mark.parametrize("space", list_spaces(), ids=lambda space: space.name)
def test_every_shipped_space_gives_settings_that_a_run_takes(space: SearchSpace) -> None:
    space.check_fields(KNOBS)
    check_searched(space)
    for end in (first_value, last_value):
        params = space.walk(end)
        config = make_plan(space).config(params)
        assert (config.lora_rank, config.lora_alpha) == (params["lora_rank"], params["lora_alpha"])
        assert config.effective_batch_size == params["effective_batch_size"]


@pytest.mark.parametrize(
    ("target", "modules"),
    [
        ("qv", ("q_proj", "v_proj")),
        ("q_proj+down_proj", ("down_proj", "q_proj")),
        (["mlp", "k_proj"], ("down_proj", "gate_proj", "k_proj", "up_proj")),
    ],
)
def test_a_target_set_becomes_the_models_own_modules(target: Any, modules: tuple[str, ...]) -> None:
    assert make_plan().config(PARAMS | {"lora_target": target}).lora_target == modules


def test_no_target_is_every_linear_module() -> None:
    assert make_plan().config(PARAMS).lora_target == make_ready().model.linear_modules


def test_the_budget_is_every_trials_own() -> None:
    config = make_plan().config(PARAMS | {"cutoff_len": 4096, "max_rows": 1})
    assert (config.max_rows, config.evaluations, config.cutoff_len) == (80, 5, 64)


def test_the_seed_is_the_studys_unless_a_design_gives_one() -> None:
    assert make_plan().config(PARAMS).seed == 7
    assert make_plan().config(PARAMS | {"seed": 1}).seed == 1


def test_patience_is_the_spaces_else_the_sweeps() -> None:
    assert make_plan().config(PARAMS).early_stopping_patience == 5
    assert make_plan().config(PARAMS | {"early_stopping_patience": 2}).early_stopping_patience == 2


def test_helper_knobs_stay_behind() -> None:
    assert make_plan().config(PARAMS | {"alpha_ratio": 2}) == make_plan().config(PARAMS)


def test_a_value_that_training_cannot_have_is_refused() -> None:
    with pytest.raises(ConfigError, match="warmup_ratio is 1"):
        make_plan().config(PARAMS | {"warmup_ratio": 1.0})


@pytest.mark.parametrize(
    "text",
    [
        SPACE.replace("lora_target: qv", "lora_target: wq"),
        SPACE.replace("lora_target: qv", "lora_target: [q_proj, wq]"),
        SPACE.replace("lora_target: qv, ", "").replace("search:", "search:\n  lora_target: {choice: [qv, wq]}"),
    ],
    ids=["fixed", "a list", "searched"],
)
def test_a_target_that_the_model_has_not_is_found_before_the_first_trial(text: str) -> None:
    with pytest.raises(SpaceError, match="wq"):
        make_plan(make_space(text)).check_targets()


def test_targets_that_the_model_has_pass() -> None:
    make_plan().check_targets()


@pytest.mark.parametrize("epochs", ["int: [3, 5]", "choice: [5, 3]", "float: [3, 5]"])
def test_epochs_that_the_budget_ends_before_are_not_searched(epochs: str) -> None:
    space, note = drop_idle_epochs(make_space(EPOCHS % epochs), replace(BUDGET, max_rows=240), train_rows=80)
    assert [parameter.name for parameter in space.search] == ["lora_rank"]
    assert float(str(space.fixed["num_train_epochs"])) == 3
    assert "240 rows" in str(note)


@pytest.mark.parametrize("rows", [241, None])
def test_epochs_that_matter_are_searched(rows: int | None) -> None:
    space = make_space(EPOCHS % "int: [3, 5]")
    assert drop_idle_epochs(space, replace(BUDGET, max_rows=rows), train_rows=80) == (space, None)


def test_a_space_without_epochs_is_left() -> None:
    assert drop_idle_epochs(make_space(), BUDGET, train_rows=80) == (make_space(), None)


@pytest.mark.parametrize(
    "parameter",
    [
        Choice("x", ("qv", "all")),
        Float("x", 1e-5, 1e-2, log=True),
        Float("x", -1.0, 1.0),
        Int("x", 2, 10, step=4),
        Int("x", 1, 64, log=True),
    ],
)
def test_what_optuna_suggests_is_what_the_knob_may_be(parameter: Parameter) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    assert all(parameter.contains(suggest(study.ask(), parameter)) for _ in range(20))


def test_a_logarithmic_knob_is_searched_by_its_logarithm() -> None:
    trial = optuna.create_study().ask()
    suggest(trial, Float("x", 1e-5, 1e-2, log=True))
    assert trial.distributions["x"] == optuna.distributions.FloatDistribution(1e-5, 1e-2, log=True)
