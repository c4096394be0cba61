"""Turns a study's best trial into what other programs read: a LLaMA-Factory training file and a PEFT adapter.

The training file is for the full run: what made the trial short (its rows, its cut) is not carried over.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sweep.errors import SweepError
from sweep.study import FROM
from sweep.table import ranked
from trials.config import TrialConfig
from trials.default_data import to_messages
from trials.folders import ADAPTER
from trials.rows import Chat, Text, read_rows
from trials.schedule import STEP_DECAY, STEP_DECAY_DROPS, STEP_DECAY_INTERVAL, decay_steps, warmup_steps

TRAINING_FILE = "train.yaml"
VARIANTS = ("use_rslora", "use_dora", "pissa_init", "loraplus_lr_ratio")  # off where LLaMA-Factory is not told
VAL_SIZE = 0.1  # share of the full run's rows
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
# LLaMA-Factory's words for the columns of each form (its data/README.md); alpaca's are its own defaults.
_FORMS: dict[str, dict[str, Any]] = {
    "alpaca": {},
    "sharegpt": {"formatting": "sharegpt", "columns": {"messages": "conversations"}},
    "messages": {
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": {
            "role_tag": "role",
            "content_tag": "content",
            "user_tag": "user",
            "assistant_tag": "assistant",
            "system_tag": "system",
        },
    },
    "text": {"columns": {"prompt": "text"}},
}


@dataclass(frozen=True)
class Winner:
    """The trial that is exported.

    Attributes:
        study: The study's name.
        row: Its row of `sweep_trials`.
        identity: What the study is of (`sweep.study.Identity` as plain data).
        source: MODEL and DATASET as they were asked for, and the data set's form and rows.
        ended: Finished trials of the study.
        place: "the best", or that it was asked for.
    """

    study: str
    row: Mapping[str, Any]
    identity: Mapping[str, Any]
    source: Mapping[str, Any]
    ended: int
    place: str = "the best"


def choose(study: str, rows: list[dict[str, Any]], number: int | None) -> Mapping[str, Any]:
    """The trial to export: the best complete one, or the one of that number.

    Raises:
        SweepError: There is no such trial.
    """
    complete = [row for row in ranked(rows) if row["state"] == "complete"]
    if number is None:
        if not complete:
            raise SweepError(f"study {study!r} has no complete trial yet; nothing to export")
        return complete[0]
    for row in rows:
        if row["trial_number"] == number:
            return row
    numbers = f"it has {len(rows)}, the last is {rows[-1]['trial_number']}" if rows else "it has none yet"
    raise SweepError(f"study {study!r} has no trial {number}; {numbers}")


def find_adapter(row: Mapping[str, Any], output: Path, hint: str = "") -> Path:
    """The folder of a trial's adapter.

    Args:
        row: The trial's row of `sweep_trials`.
        output: The sweep's output folder.
        hint: What the error adds.

    Raises:
        SweepError: It has been deleted, or is elsewhere.
    """
    adapter: Path = output / row["folder"] / ADAPTER
    if not (adapter / "adapter_config.json").is_file():
        raise SweepError(
            f"trial {row['trial_number']} has no adapter at {adapter}: only the best are kept, on the machine that "
            f"trained them.{hint}"
        )
    return adapter


def export(winner: Winner, output: Path, folder: Path) -> list[str]:
    """Writes the training file, its data set description and the adapter into `folder`.

    Args:
        winner: What is exported.
        output: The sweep's output folder, which holds the adapter.
        folder: Where to; made when it is not there.

    Returns:
        What was written, in lines for people.

    Raises:
        SweepError: The trial's adapter has been deleted, or the folder cannot be written.
    """
    adapter = find_adapter(winner.row, output, " The best trial is exported without --trial")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(adapter, folder / ADAPTER, dirs_exist_ok=True)
        dataset = _write_data(winner, folder / "data")
        base = json.loads((adapter / "adapter_config.json").read_text(encoding="utf8"))
        text = training_file(winner, base["base_model_name_or_path"], dataset, folder)
        (folder / TRAINING_FILE).write_text(text, encoding="utf8")
    except OSError as error:
        raise SweepError(f"cannot write to {folder}: {error.strerror or error}") from error
    return [
        f"{folder / TRAINING_FILE}   llamafactory-cli train {folder / TRAINING_FILE}",
        f'{folder / ADAPTER}   PeftModel.from_pretrained(base, "{folder / ADAPTER}")',
    ]


def training_file(winner: Winner, base: str, dataset: str, folder: Path) -> str:
    """The full run's settings as LLaMA-Factory reads them, with the evidence as comments.

    Args:
        winner: What is exported.
        base: The base model's folder or hub name.
        dataset: The data set's name in `data/dataset_info.json`.
        folder: Where the file goes; the run's output and data paths are made from it.
    """
    row, config, params = winner.row, winner.row["config"], winner.row["params"]
    data = {
        "dataset": dataset,
        "dataset_dir": str(folder / "data"),
        "cutoff_len": params.get("cutoff_len", config["cutoff_len"]),
    }
    training = {key: config[key] for key in CARRIED_OVER}
    schedule, note = _schedule(config, winner.source.get("rows"))
    training |= {**schedule, "bf16": winner.source["dtype"] == "bf16"}
    evaluation = {
        "val_size": VAL_SIZE,
        "eval_strategy": "steps",
        "eval_steps": 100,
        "per_device_eval_batch_size": 1,
    }
    saving = {"output_dir": str(folder / "output"), "logging_steps": 10, "save_steps": 500, "plot_loss": True}
    sections = [
        (_evidence(winner), {"model_name_or_path": base}),
        (["method"], _method(config)),
        (["data; the chat template is the tokenizer's own"], data),
        ([f"training; effective batch size {row['effective_batch_size']}", *note], training),
        (["evaluation"], evaluation),
        (["output"], saving),
    ]
    return "\n".join(_section(comments, values) for comments, values in sections)


def _evidence(winner: Winner) -> list[str]:
    """What the file rests on, in lines of comment."""
    row, config = winner.row, winner.row["config"]
    value = f"{row['value']:.4f}" if row["value"] is not None else "unknown"
    return [
        f"Trial {row['trial_number']} of the study {winner.study}, {winner.place} of {winner.ended} finished trials: "
        f"evaluation loss {value} nats per token.",
        f"Space {winner.identity['space']['name']}, model {winner.identity['model']['name']}, "
        f"data {winner.identity['data']['name']}.",
        f"The trial saw {config['max_rows'] or 'all'} rows cut at {config['cutoff_len']} tokens; "
        "this file is for the full run.",
        *_merged_base(winner.source),
    ]


def _merged_base(source: Mapping[str, Any]) -> list[str]:
    """Where the base comes from, when it is another study's trial."""
    origin = source.get(FROM)
    if origin is None:
        return []
    return [
        f"The base is {origin['base_name']} with the adapter of trial {origin['trial']} of the study {origin['study']} "
        f"(evaluation loss {origin['value']:.4f}) merged into it: keep its folder."
    ]


def _method(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "stage": config["stage"],
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": config["lora_rank"],
        "lora_alpha": config["lora_alpha"],
        "lora_dropout": config["lora_dropout"],
        "lora_target": ",".join(config["lora_target"]),
        **{name: config[name] for name in VARIANTS if config.get(name)},
    }


def _schedule(config: Mapping[str, Any], rows: int | None) -> tuple[dict[str, Any], list[str]]:
    """The schedule as transformers' Trainer takes it, and a comment where that needs one.

    Args:
        config: The trial's settings.
        rows: Of the whole data set; none in a study that did not keep it.
    """
    name = config["lr_scheduler_type"]
    if name not in ("step_decay", "warmup_stable_decay"):
        return {"lr_scheduler_type": name}, []
    settings = TrialConfig.from_dict({**config, "max_rows": None})
    steps = settings.total_steps(round((1 - VAL_SIZE) * rows)) if rows else None
    if name == "step_decay":
        drops = STEP_DECAY_DROPS if steps is None else max(STEP_DECAY_DROPS, steps // STEP_DECAY_INTERVAL)
        note = f"step decay is not among transformers' schedules: a line down to the same end ({drops} drops) is near"
        end = float(f"{settings.learning_rate * STEP_DECAY**drops:.3g}")
        return {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": end, "power": 1.0}}, [note]
    steps = steps or settings.total_steps(config["max_rows"] or settings.effective_batch_size)
    count = decay_steps(warmup_steps(settings.warmup_ratio, steps), steps)
    note = f"num_decay_steps is a fifth of {steps} steps: change it when the number of rows changes"
    kwargs = {"num_decay_steps": count, "decay_type": "1-sqrt"}
    return {"lr_scheduler_type": name, "lr_scheduler_kwargs": kwargs}, [note]


def _section(comments: list[str], values: Mapping[str, Any]) -> str:
    lines = "".join(f"# {' '.join(comment.split())}\n" for comment in comments)
    return lines + "".join(f"{key}: {_scalar(value)}\n" for key, value in values.items())


def _scalar(value: Any) -> str:
    if isinstance(value, float) and not isinstance(value, bool):
        # YAML 1.1 reads 1e-05 as text: it wants a point in the number.
        text = f"{value:.6g}"
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    dumped: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)
    return dumped.removesuffix("...\n").strip()


def _write_data(winner: Winner, folder: Path) -> str:
    """Writes `dataset_info.json`, and the default data beside it; the data set's name in it."""
    folder.mkdir(parents=True, exist_ok=True)
    asked, form = winner.source["dataset"], winner.source["form"]
    entry = dict(_FORMS[form])
    if asked in ("", "chitchat", "pydoc"):
        name = str(winner.identity["data"]["name"])
        entry |= _FORMS["messages" if winner.row["config"]["stage"] == "sft" else "text"]
        rows = read_rows(asked, winner.row["config"]["stage"]).rows
        plain = [{"messages": to_messages(row)} if isinstance(row, Chat) else _text(row) for row in rows]
        file = folder / f"{name}.json"
        file.write_text(json.dumps(plain, ensure_ascii=False), encoding="utf8")
        entry["file_name"] = file.name
    elif (path := Path(asked).expanduser()).exists():
        # LLaMA-Factory takes a list of names with commas.
        name = path.stem.replace(",", "-")
        entry["file_name"] = os.fspath(path.absolute())
    else:
        name = asked.rsplit("/", 1)[-1]
        entry["hf_hub_url"] = asked
    (folder / "dataset_info.json").write_text(json.dumps({name: entry}, indent=2) + "\n", encoding="utf8")
    return name


def _text(row: Text) -> dict[str, str]:
    return {"text": row.text}
