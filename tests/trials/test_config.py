"""A run's settings: what they may be, what they amount to, and how they are written down."""

import dataclasses
import json
import math
from typing import Any

import pytest

from trials.config import FIELDS, TrialConfig
from trials.errors import ConfigError

WHOLE = ("lora_rank", "per_device_train_batch_size", "gradient_accumulation_steps", "cutoff_len", "evaluations")
POSITIVE = ("lora_alpha", "learning_rate", "num_train_epochs")
NOT_NEGATIVE = ("weight_decay", "max_grad_norm", "loraplus_lr_ratio")
FLAGS = ("use_rslora", "use_dora", "pissa_init")
SHARES = ("lora_dropout", "warmup_ratio")


def complaint(name: str, value: Any) -> str:
    with pytest.raises(ConfigError) as error:
        TrialConfig(**{name: value})
    return str(error.value)


# --- what a field may be


def test_a_name_that_is_not_one_of_the_known() -> None:
    assert complaint("stage", "dpo") == "stage is 'dpo'; allowed: sft, pt"
    wanted = "lr_scheduler_type is 'step'; allowed: cosine, linear, constant, constant_with_warmup, step_decay, "
    assert complaint("lr_scheduler_type", "step") == wanted + "warmup_stable_decay"


@pytest.mark.parametrize("name", [*WHOLE, "max_rows"])
@pytest.mark.parametrize("value", [0, -1, 1.0, "8", True])
def test_a_count_is_a_whole_number_from_1(name: str, value: Any) -> None:
    assert complaint(name, value) == f"{name} is {value!r}; allowed: a whole number of at least 1"


@pytest.mark.parametrize("name", ["early_stopping_patience", "seed"])
@pytest.mark.parametrize("value", [-1, 0.5, None])
def test_patience_and_seed_are_whole_numbers_from_0(name: str, value: Any) -> None:
    assert complaint(name, value) == f"{name} is {value!r}; allowed: a whole number of at least 0"


@pytest.mark.parametrize("name", POSITIVE)
@pytest.mark.parametrize("value", [0, -1e-4, math.nan, math.inf, "1e-4", True, None])
def test_rates_are_above_0(name: str, value: Any) -> None:
    assert complaint(name, value) == f"{name} is {value!r}; allowed: a number above 0"


@pytest.mark.parametrize("name", NOT_NEGATIVE)
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "0"])
def test_decay_and_norm_are_not_negative(name: str, value: Any) -> None:
    assert complaint(name, value) == f"{name} is {value!r}; allowed: a number of at least 0"


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize("value", [0, 1, "true", None])
def test_variants_are_true_or_false(name: str, value: Any) -> None:
    assert complaint(name, value) == f"{name} is {value!r}; allowed: true, false"


@pytest.mark.parametrize("value", [0, 1, 2, 16, 4.5, "4", True])
def test_bits_are_those_that_there_are(value: Any) -> None:
    assert complaint("quantization_bit", value) == f"quantization_bit is {value!r}; allowed: none, 4, 8"


@pytest.mark.parametrize(("variant", "bits"), [("pissa_init", 4), ("pissa_init", 8), ("use_dora", 8)])
def test_variants_that_a_quantised_base_cannot_take(variant: str, bits: int) -> None:
    with pytest.raises(ConfigError, match=f"^{variant} is true and quantization_bit {bits}; "):
        TrialConfig.from_dict({variant: True, "quantization_bit": bits})


def test_dora_goes_with_four_bits() -> None:
    assert TrialConfig(use_dora=True, quantization_bit=4).quantization_bit == 4


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("value", [-0.1, 1, 1.5, math.nan])
def test_shares_are_below_1(name: str, value: Any) -> None:
    assert complaint(name, value) == f"{name} is {value!r}; allowed: a number of at least 0 and below 1"


@pytest.mark.parametrize("value", [(), "q_proj", ["q_proj"], ("q_proj", 3), ("",)])
def test_targets_are_a_tuple_of_names(value: Any) -> None:
    wanted = f"lora_target is {value!r}; allowed: a tuple of at least one module's name"
    assert complaint("lora_target", value) == wanted


@pytest.mark.parametrize(
    "edge", [{"lora_dropout": 0}, {"max_grad_norm": 0}, {"max_rows": None}, {"max_rows": 1}, {"lora_alpha": 0.5}]
)
def test_the_edges_are_allowed(edge: dict[str, Any]) -> None:
    TrialConfig(**edge)


# --- rows and steps


@pytest.mark.parametrize(
    ("settings", "rows", "steps"),
    [
        ({"num_train_epochs": 2.0}, 200, 200 // 16),
        ({"num_train_epochs": 0.5}, 50, 3),
        ({"num_train_epochs": 2.0, "max_rows": 64}, 64, 4),
        ({"num_train_epochs": 2.0, "max_rows": 1000}, 200, 12),
        ({"num_train_epochs": 0.001}, 1, 1),
        ({"max_rows": 15}, 15, 1),
    ],
)
def test_rows_and_steps(settings: dict[str, Any], rows: int, steps: int) -> None:
    config = TrialConfig(per_device_train_batch_size=4, gradient_accumulation_steps=4, **settings)
    assert config.effective_batch_size == 16
    assert (config.total_rows(100), config.total_steps(100)) == (rows, steps)


# --- as plain data


def test_it_comes_back_from_json() -> None:
    config = TrialConfig(lora_target=("a", "b"), max_rows=7, lora_alpha=0.5, stage="pt")
    assert TrialConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_what_is_left_out_has_its_default() -> None:
    assert TrialConfig.from_dict({"lora_rank": 3}) == TrialConfig(lora_rank=3)


def test_an_unknown_field_is_named_with_the_known() -> None:
    with pytest.raises(ConfigError) as error:
        TrialConfig.from_dict({"rank": 8, "alpha": 1, "lora_rank": 8})
    assert str(error.value) == f"unknown training fields: alpha, rank. Known: {', '.join(FIELDS)}"


def test_a_string_is_no_list_of_targets() -> None:
    with pytest.raises(ConfigError, match="lora_target is 'q_proj'"):
        TrialConfig.from_dict({"lora_target": "q_proj"})


# --- the fingerprint

OTHER: dict[str, Any] = {
    "stage": "pt",
    "lora_rank": 9,
    "lora_alpha": 16.5,
    "lora_target": ("v_proj", "q_proj"),
    "lora_dropout": 0.1,
    "use_rslora": True,
    "use_dora": True,
    "pissa_init": True,
    "loraplus_lr_ratio": 16.0,
    "quantization_bit": 4,
    "learning_rate": 1.0000001e-4,
    "lr_scheduler_type": "linear",
    "warmup_ratio": 0.2,
    "weight_decay": 0.1,
    "max_grad_norm": 0.5,
    "num_train_epochs": 3.0,
    "max_rows": 1000,
    "cutoff_len": 512,
    "evaluations": 11,
    "early_stopping_patience": 0,
    "seed": 2**60 + 1,
}
SPLIT = {"per_device_train_batch_size", "gradient_accumulation_steps"}


@pytest.mark.parametrize("name", sorted(set(FIELDS) - SPLIT))
def test_a_changed_field_changes_the_fingerprint(name: str) -> None:
    assert TrialConfig(**{name: OTHER[name]}).fingerprint() != TrialConfig().fingerprint()


def test_the_split_does_not_change_the_fingerprint_but_the_batch_does() -> None:
    four, two, other = (
        TrialConfig(per_device_train_batch_size=micro, gradient_accumulation_steps=steps).fingerprint()
        for micro, steps in ((4, 4), (2, 8), (4, 8))
    )
    assert four == two
    assert other != four


def test_equal_settings_have_equal_fingerprints_however_their_numbers_are_written() -> None:
    assert TrialConfig(lora_alpha=16, num_train_epochs=2) == TrialConfig(lora_alpha=16.0, num_train_epochs=2.0)
    assert TrialConfig(lora_alpha=16, num_train_epochs=2).fingerprint() == TrialConfig().fingerprint()


def test_it_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrialConfig().seed = 1  # type: ignore[misc]
