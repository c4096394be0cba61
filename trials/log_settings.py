"""The settings of a run, from the files that trainers leave beside its log. What is not found is not known."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from trials.log_runs import number, whole
from trials.logged import Settings

# LLaMA-Factory's own arguments, as its web page and its examples leave them; PEFT's; and transformers' model card.
ARGUMENTS = ("training_args.yaml", "llamaboard_config.yaml")
ADAPTER, CARD = "adapter_config.json", "README.md"
LARGEST_BYTES = 2**20  # none of these files is larger; what is, is something else
_CARD_LINE = re.compile(r"^- (\w+): (.+)$", re.MULTILINE)
_CARD_NAMES = {
    "learning_rate": "learning_rate",
    "train_batch_size": "per_device_train_batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "lr_scheduler_type": "lr_scheduler_type",
    "lr_scheduler_warmup_ratio": "warmup_ratio",
    "num_epochs": "num_train_epochs",
}
_WHOLE = ("per_device_train_batch_size", "gradient_accumulation_steps", "lora_rank")
_REAL = ("learning_rate", "warmup_ratio", "num_train_epochs", "lora_alpha", "val_size")


class _PlainLoader(yaml.SafeLoader):
    """Leaves numbers and dates as the text that they are: to base 60, a long one takes YAML 1.1 minutes."""


def _as_text(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


for _kind in ("int", "float", "timestamp"):
    _PlainLoader.add_constructor(f"tag:yaml.org,2002:{_kind}", _as_text)


def settings_beside(log: Path) -> Settings:
    """What the files in a log's folder say, and for a checkpoint those in the folder above; the nearest first."""
    folders = [log.parent, log.parent.parent] if log.parent.name.startswith("checkpoint-") else [log.parent]
    found: dict[str, Any] = {}
    for values in (values for folder in folders for values in _said(folder)):
        for name, value in values.items():
            if (usable := _usable(name, value)) is not None:
                found.setdefault(name, usable)
    return Settings(**found)


def _said(folder: Path) -> Iterator[dict[str, Any]]:
    for name in ARGUMENTS:
        yield _arguments(_text(folder / name))
    yield _adapter(_text(folder / ADAPTER))
    card = dict(_CARD_LINE.findall(_text(folder / CARD)))
    yield {ours: card[theirs] for theirs, ours in _CARD_NAMES.items() if theirs in card}


def _usable(name: str, value: object) -> float | int | str | None:
    if name in _WHOLE:
        return whole(value) or None
    if name in _REAL:
        found = number(value)
        return found if found is not None and 0 <= found < float("inf") else None
    return value if name == "lr_scheduler_type" and isinstance(value, str) else None


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = yaml.load(text, _PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    # The web page prefixes its fields: train.learning_rate.
    return {str(key).removeprefix("train."): value for key, value in found.items()}


def _adapter(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {"lora_rank": found.get("r"), "lora_alpha": found.get("lora_alpha")}


def _text(path: Path) -> str:
    """A small file's text; empty when there is none that can be read."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_BYTES:
            return ""
        return path.read_text(encoding="utf8", errors="replace")
    except OSError:
        return ""
