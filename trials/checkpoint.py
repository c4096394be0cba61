"""A run's whole state on disk, written so that a kill at any moment leaves a whole one behind.

Knows files only: tensors (safetensors) and plain data (JSON). The newest state lies in `checkpoint/`, the one
before it in `checkpoint.before/`; a state that cannot be read whole falls back to the one before.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from trials.checkpoint_files import CHECKSUM, STATE, TENSORS, sha256
from trials.folders import CHECKPOINT, CHECKPOINT_BEFORE, CHECKPOINT_WRITING


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: tensors by name (on the CPU) and JSON-able values."""

    tensors: Mapping[str, torch.Tensor]
    values: Mapping[str, Any]


def save_checkpoint(folder: Path, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
    """Writes a state into `folder`, keeping the one before.

    Raises:
        OSError: The disk is full or cannot be written; what was there before is untouched.
    """
    writing = folder / CHECKPOINT_WRITING
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    tensor_file = writing / TENSORS
    try:
        save_file({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}, tensor_file)
    except SafetensorError as error:
        raise OSError(f"cannot write {tensor_file}: {error}") from error
    text = json.dumps({**values, CHECKSUM: sha256(tensor_file)})
    with (writing / STATE).open("w", encoding="utf8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    newest, before = folder / CHECKPOINT, folder / CHECKPOINT_BEFORE
    if newest.exists():
        shutil.rmtree(before, ignore_errors=True)
        os.replace(newest, before)
    os.replace(writing, newest)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Returns the newest state in `folder` that can be read whole, or None."""
    for name in (CHECKPOINT, CHECKPOINT_BEFORE):
        checkpoint = _read(folder / name)
        if checkpoint is not None:
            return checkpoint
    return None


def _read(path: Path) -> Checkpoint | None:
    tensor_file = path / TENSORS
    try:
        values = json.loads((path / STATE).read_text(encoding="utf8"))
        if values.pop(CHECKSUM) != sha256(tensor_file):
            return None
        return Checkpoint(load_file(tensor_file), values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
        return None
