"""A training file that LLaMA-Factory reads as it is, and the description of the data that goes with it."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sweep.exports.data import FOLDER, Data, place
from sweep.exports.full_run import EVAL_STEPS, LOGGING_STEPS, SAVE_STEPS, VAL_SIZE, quantization_bit, schedule
from sweep.exports.templates import llamafactory_template
from sweep.exports.winner import Winner
from sweep.exports.yaml_text import yaml_text
from trials.layout import TURNS

TRAINING_FILE = "train.yaml"
FORMS = ("alpaca", "sharegpt", "messages", "text")
VARIANTS = ("use_rslora", "use_dora", "pissa_init", "loraplus_lr_ratio")  # off where LLaMA-Factory is not told
# Training fields that a full run takes from the short trial as they are.
CARRIED_OVER = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "num_train_epochs",
    "warmup_ratio",
    "weight_decay",
    "max_grad_norm",
    "seed",
)
# LLaMA-Factory's words for alpaca's columns (its data/README.md); as soon as one is named, the others must be.
_ALPACA = {
    "instruction": "prompt",
    "input": "query",
    "output": "response",
    "system": "system",
    "history": "history",
}


def export_llamafactory(winner: Winner, base: str, folder: Path) -> list[str]:
    """Writes `train.yaml` and `data/dataset_info.json`; what to type next, in lines."""
    data = place(winner, folder, FORMS)
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    described = json.dumps({data.name: describe(data)}, indent=2) + "\n"
    (folder / FOLDER / "dataset_info.json").write_text(described, encoding="utf8")
    file = folder / TRAINING_FILE
    file.write_text(training_file(winner, base, data, folder), encoding="utf8")
    return [f"{file}   llamafactory-cli train {shlex.quote(str(file))}"]


def describe(data: Data) -> dict[str, Any]:
    """A data set's entry in `dataset_info.json`: where it is, and every column and role word that the trials read."""
    entry: dict[str, Any] = {"hf_hub_url": data.hub}
    if data.path:  # a copy lies beside the description
        entry = {"file_name": data.path.name if data.copied else str(data.path)}
    if data.form == "alpaca":
        return entry | {"columns": {_ALPACA[column]: column for column in data.columns}}
    if data.form == "text":
        return entry | {"columns": {"prompt": next(iter(data.columns))}}
    column, role_key, text_key = TURNS[data.form]
    columns = {"messages": column} | ({"system": "system"} if "system" in data.columns else {})
    tags = {"role_tag": role_key, "content_tag": text_key}
    tags |= {f"{role}_tag": word for role, word in data.roles.items()}
    return entry | {"formatting": "sharegpt", "columns": columns, "tags": tags}


def training_file(winner: Winner, base: str, data: Data, folder: Path) -> str:
    """The full run's settings as LLaMA-Factory reads them, with the evidence as comments.

    Args:
        winner: What is exported.
        base: The base model's folder or hub name.
        data: The data set.
        folder: Where the file goes; the run's output and data paths are made from it.
    """
    config = winner.config
    rates = schedule(winner)
    training = {key: config[key] for key in CARRIED_OVER} | {"lr_scheduler_type": rates.name}
    training |= {"lr_scheduler_kwargs": dict(rates.kwargs)} if rates.kwargs else {}
    training |= {"bf16": winner.source["dtype"] == "bf16"}
    comments, values = _data(winner, base, data, folder)
    batch = f"training; effective batch size {winner.row['effective_batch_size']} on one device"
    evaluation = {
        "val_size": VAL_SIZE,
        "eval_strategy": "steps",
        "eval_steps": EVAL_STEPS,
        "per_device_eval_batch_size": 1,
    }
    saving = {
        "output_dir": str(folder / "output"),
        "logging_steps": LOGGING_STEPS,
        "save_steps": SAVE_STEPS,
        "plot_loss": True,
    }
    return yaml_text(
        [
            (winner.evidence(), _model(winner, base)),
            (["method"], _method(config)),
            (comments, values),
            ([batch, *rates.notes], training),
            (["evaluation"], evaluation),
            (["output"], saving),
        ]
    )


def _model(winner: Winner, base: str) -> dict[str, Any]:
    bits = quantization_bit(winner)
    return {"model_name_or_path": base} | ({"quantization_bit": bits} if bits else {})


def _method(config: Mapping[str, Any]) -> dict[str, Any]:
    method = {
        "stage": config["stage"],
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": config["lora_rank"],
        "lora_alpha": config["lora_alpha"],
        "lora_dropout": config["lora_dropout"],
        "lora_target": ",".join(config["lora_target"]),
        **{name: config[name] for name in VARIANTS if config.get(name)},
    }
    # As the trial's own adapter: a plain one that loads on the base as it is.
    return method | ({"pissa_convert": True} if config.get("pissa_init") else {})


def _data(winner: Winner, base: str, data: Data, folder: Path) -> tuple[list[str], dict[str, Any]]:
    values: dict[str, Any] = {"dataset": data.name, "dataset_dir": str(folder / FOLDER)}
    comments = ["data", *data.notes]
    if data.broken:
        comments.append(f"LLaMA-Factory leaves out {data.broken} rows whose turns do not alternate")
    if winner.config["stage"] == "sft":
        template, comment = llamafactory_template(base)
        comments.append(comment)
        values |= {"template": template} if template else {}
    return comments, values | {"cutoff_len": winner.cutoff_len}
