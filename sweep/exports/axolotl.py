"""A training file for Axolotl. Field names are those of its configuration reference."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweep.exports.data import Data, place
from sweep.exports.full_run import (
    EVAL_STEPS,
    LOGGING_STEPS,
    PISSA_INIT,
    SAVE_STEPS,
    VAL_SIZE,
    quantization_bit,
    schedule,
)
from sweep.exports.winner import Winner
from sweep.exports.yaml_text import yaml_text
from trials.layout import TURNS

TRAINING_FILE = "axolotl.yaml"
# Axolotl's `alpaca` has a prompt of its own instead of the model's chat template, so that such data go as messages.
FORMS = ("messages", "sharegpt", "text")


def export_axolotl(winner: Winner, base: str, folder: Path) -> list[str]:
    """Writes `axolotl.yaml`; what to type next, in lines."""
    data = place(winner, folder, FORMS)
    file = folder / TRAINING_FILE
    file.write_text(training_file(winner, base, data, folder), encoding="utf8")
    return [f"{file}   axolotl train {shlex.quote(str(file))}"]


def training_file(winner: Winner, base: str, data: Data, folder: Path) -> str:
    """The full run's settings as Axolotl reads them, with the evidence as comments.

    Args:
        winner: What is exported.
        base: The base model's folder or hub name.
        data: The data set.
        folder: Where the file goes; the run's output is beside it.
    """
    rates = schedule(winner)
    rounded, method = _method(winner)
    batch = f"training; effective batch size {winner.row['effective_batch_size']} on one device"
    saving = {
        "output_dir": str(folder / "output"),
        "logging_steps": LOGGING_STEPS,
        "save_steps": SAVE_STEPS,
    }
    return yaml_text(
        [
            (winner.evidence(), {"base_model": base}),
            (["method", *rounded], method),
            (["data", *data.notes], _data(winner, data)),
            ([batch, *rates.notes], _training(winner) | _rates(rates.name, rates.kwargs)),
            (["evaluation"], {"val_set_size": VAL_SIZE, "eval_steps": EVAL_STEPS}),
            (["output"], saving),
        ]
    )


def _method(winner: Winner) -> tuple[list[str], dict[str, Any]]:
    config, bits = winner.config, quantization_bit(winner)
    alpha = round(config["lora_alpha"])
    comments = [f"lora_alpha was {config['lora_alpha']:g}; Axolotl takes whole numbers"]
    quantised = {f"load_in_{bits}bit": True} if bits else {}
    variants = {
        "peft_use_rslora": config.get("use_rslora"),
        "peft_use_dora": config.get("use_dora"),
        "peft_init_lora_weights": PISSA_INIT if config.get("pissa_init") else None,
        "loraplus_lr_ratio": config.get("loraplus_lr_ratio"),
    }
    method = {
        "adapter": "qlora" if bits == 4 else "lora",
        **quantised,
        "lora_r": config["lora_rank"],
        "lora_alpha": alpha,
        "lora_dropout": config["lora_dropout"],
        "lora_target_modules": list(config["lora_target"]),
        **{name: value for name, value in variants.items() if value},
    }
    return comments if alpha != config["lora_alpha"] else [], method


def _data(winner: Winner, data: Data) -> dict[str, Any]:
    entry: dict[str, Any]
    if data.path is None:
        entry = {"path": data.hub, "split": "train"}
    else:
        entry = {"path": str(data.path), "ds_type": data.kind}
        if data.path.is_dir():
            entry["data_files"] = [str(file) for file in data.files]
    if data.form == "text":
        entry |= {"type": "completion", "field": next(iter(data.columns))}
        template = {}
    else:
        column, role_key, text_key = TURNS[data.form]
        entry |= {
            "type": "chat_template",
            "field_messages": column,
            "message_property_mappings": {"role": role_key, "content": text_key},
            "roles": {role: [word] for role, word in data.roles.items()},
            "roles_to_train": ["assistant"],
            "train_on_eos": "turn",
        }
        template = {"chat_template": "tokenizer_default"}
    return {"datasets": [entry], **template, "sequence_len": winner.cutoff_len}


def _training(winner: Winner) -> dict[str, Any]:
    config = winner.config
    return {
        "micro_batch_size": config["per_device_train_batch_size"],
        "gradient_accumulation_steps": config["gradient_accumulation_steps"],
        "num_epochs": config["num_train_epochs"],
        "optimizer": "adamw_torch",
        "learning_rate": config["learning_rate"],
        "warmup_ratio": config["warmup_ratio"],
        "weight_decay": config["weight_decay"],
        "max_grad_norm": config["max_grad_norm"],
        "seed": config["seed"],
        "bf16": winner.source["dtype"] == "bf16",
    }


def _rates(name: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {"lr_scheduler": name} | ({"lr_scheduler_kwargs": dict(kwargs)} if kwargs else {})
