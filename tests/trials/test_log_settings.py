"""Settings from the files beside a log: what trainers write, and what is in the way."""

import json
from pathlib import Path

import pytest

from trials.log_settings import LARGEST_BYTES, settings_beside
from trials.logged import NOTHING_KNOWN, Settings

CARD = """---
library_name: peft
---
### Training hyperparameters

The following hyperparameters were used during training:
- learning_rate: 5e-05
- train_batch_size: 2
- gradient_accumulation_steps: 8
- total_train_batch_size: 16
- lr_scheduler_type: cosine
- lr_scheduler_warmup_ratio: 0.1
- num_epochs: 3.0
"""


def test_adapter_and_model_card(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 8, "lora_alpha": 32, "peft_type": "LORA"}))
    (tmp_path / "README.md").write_text(CARD)
    assert settings_beside(tmp_path / "trainer_log.jsonl") == Settings(
        learning_rate=5e-5,
        lr_scheduler_type="cosine",
        warmup_ratio=0.1,
        num_train_epochs=3.0,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=8,
        lora_rank=8,
        lora_alpha=32.0,
    )


@pytest.mark.parametrize("prefix", ["", "train."])
def test_llama_factorys_arguments_come_first(prefix: str, tmp_path: Path) -> None:
    name = "llamaboard_config.yaml" if prefix else "training_args.yaml"
    (tmp_path / name).write_text(f"{prefix}learning_rate: 1.0e-4\n{prefix}val_size: 0.1\n{prefix}lora_rank: 16\n")
    (tmp_path / "README.md").write_text(CARD)
    found = settings_beside(tmp_path / "trainer_log.jsonl")
    assert (found.learning_rate, found.val_size, found.lora_rank) == (1e-4, 0.1, 16)
    assert found.num_train_epochs == 3.0


def test_a_checkpoint_has_its_runs_settings(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD)
    assert settings_beside(tmp_path / "checkpoint-500" / "trainer_state.json").num_train_epochs == 3.0
    assert settings_beside(tmp_path / "other" / "trainer_state.json") == NOTHING_KNOWN


@pytest.mark.parametrize(
    "text", ["[1, 2", "{]", "- a\n- b", "\0", "learning_rate: fast\nlora_rank: -3\nval_size: .nan"]
)
def test_what_cannot_be_read_is_not_known(text: str, tmp_path: Path) -> None:
    for name in ("training_args.yaml", "adapter_config.json", "README.md"):
        (tmp_path / name).write_text(text)
    assert settings_beside(tmp_path / "trainer_log.jsonl") == NOTHING_KNOWN


def test_a_huge_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD + " " * LARGEST_BYTES)
    assert settings_beside(tmp_path / "trainer_log.jsonl") == NOTHING_KNOWN
