"""The training file that Axolotl gets."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep.export import export
from tests.sweep.winners import CHATS, exported, exported_yaml, make_winner, write_rows


def written(tmp_path: Path, **winner: Any) -> dict[str, Any]:
    return exported_yaml(tmp_path, "axolotl", "axolotl.yaml", **winner)


def test_every_setting_is_loaded_with_its_type(tmp_path: Path) -> None:
    loaded = written(tmp_path, lora_dropout=0.05)
    chats = tmp_path / "runs" / "chats.jsonl"
    assert loaded == {
        "base_model": "/models/tiny",
        "adapter": "lora",
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "lora_target_modules": ["q_proj", "v_proj"],
        "datasets": [
            {
                "path": str(chats),
                "ds_type": "json",
                "type": "chat_template",
                "field_messages": "messages",
                "message_property_mappings": {"role": "role", "content": "content"},
                "roles": {"user": ["user"], "assistant": ["assistant"], "system": ["system"]},
                "roles_to_train": ["assistant"],
                "train_on_eos": "turn",
            }
        ],
        "chat_template": "tokenizer_default",
        "sequence_len": 1024,
        "micro_batch_size": 1,
        "gradient_accumulation_steps": 16,
        "num_epochs": 2,
        "optimizer": "adamw_torch",
        "learning_rate": 1e-5,
        "warmup_ratio": 0.1,
        "weight_decay": 0,
        "max_grad_norm": 1,
        "seed": 42,
        "bf16": True,
        "lr_scheduler": "cosine",
        "val_set_size": 0.1,
        "eval_steps": 100,
        "output_dir": str(tmp_path / "to" / "output"),
        "logging_steps": 10,
        "save_steps": 500,
    }


def test_variants_have_axolotls_names(tmp_path: Path) -> None:
    loaded = written(tmp_path, use_rslora=True, use_dora=True, pissa_init=True, loraplus_lr_ratio=8.0)
    assert loaded["peft_use_rslora"] is loaded["peft_use_dora"] is True
    assert (loaded["peft_init_lora_weights"], loaded["loraplus_lr_ratio"]) == ("pissa_niter_16", 8)


@pytest.mark.parametrize(("bits", "adapter"), [(4, "qlora"), (8, "lora")])
def test_a_quantised_base_is_loaded_as_such(tmp_path: Path, bits: int, adapter: str) -> None:
    winner = make_winner(tmp_path / "runs")
    winner.row["config"]["quantization_bit"] = bits
    export(winner, tmp_path / "runs", tmp_path / "to", "axolotl")
    loaded = yaml.safe_load((tmp_path / "to" / "axolotl.yaml").read_text())
    assert (loaded["adapter"], loaded[f"load_in_{bits}bit"]) == (adapter, True)


def test_an_alpha_that_is_no_whole_number_is_rounded_and_told(tmp_path: Path) -> None:
    text = exported(tmp_path, "axolotl", "axolotl.yaml", lora_alpha=11.3)
    assert "# lora_alpha was 11.3; Axolotl takes whole numbers\n" in text
    assert yaml.safe_load(text)["lora_alpha"] == 11


def test_schedules_are_said_as_transformers_takes_them(tmp_path: Path) -> None:
    loaded = written(tmp_path, lr_scheduler_type="step_decay")
    assert (loaded["lr_scheduler"], loaded["lr_scheduler_kwargs"]["power"]) == ("polynomial", 1.0)


def test_texts_are_completions_of_their_column(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [{"content": "a text"}])
    loaded = written(tmp_path, dataset=str(file), stage="pt")
    assert loaded["datasets"] == [{"path": str(file), "ds_type": "json", "type": "completion", "field": "content"}]
    assert "chat_template" not in loaded


def test_sharegpt_is_told_with_its_words(tmp_path: Path) -> None:
    turns = [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "hello"}]
    file = write_rows(tmp_path / "a.jsonl", [{"conversations": turns}])
    (entry,) = written(tmp_path, dataset=str(file))["datasets"]
    assert entry["field_messages"] == "conversations"
    assert entry["message_property_mappings"] == {"role": "from", "content": "value"}
    assert entry["roles"] == {"user": ["human"], "assistant": ["gpt"], "system": ["system"]}


def test_alpaca_goes_as_messages_so_that_the_models_own_template_is_used(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "a.jsonl", [{"instruction": "say", "output": "yes"}])
    (entry,) = written(tmp_path, dataset=str(file))["datasets"]
    assert (entry["path"], entry["type"]) == (str(tmp_path / "to" / "data" / "a.json"), "chat_template")


def test_a_folder_is_told_with_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "rows"
    files = [write_rows(folder / name, CHATS) for name in ("a.jsonl", "b.jsonl")]
    (entry,) = written(tmp_path, dataset=str(folder))["datasets"]
    assert (entry["path"], entry["data_files"]) == (str(folder), [str(file) for file in files])
