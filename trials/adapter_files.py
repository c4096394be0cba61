"""What a kept adapter is as files: written whole or not at all, with checksums, and checked before it is used.

Torch-free: who exports an adapter checks it without loading it.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError

from trials.checkpoint_files import sha256
from trials.errors import AdapterError
from trials.folders import ADAPTER, ADAPTER_WRITING

SETTINGS, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
# A line a file, as `sha256sum --check` reads it.
CHECKSUMS = "SHA256SUMS"
LARGEST_HEADER = 100 << 20  # bytes, which is safetensors' own limit


def save_adapter(run: Path, write: Callable[[Path], None]) -> None:
    """Has an adapter written into a run's folder, in place of the one that is there once it is whole.

    Args:
        run: The run's folder.
        write: Writes the adapter's files into the folder that it is given.

    Raises:
        OSError: The disk is full or cannot be written; the adapter that was there still is.
    """
    writing, adapter = run / ADAPTER_WRITING, run / ADAPTER
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    try:
        write(writing)
    except SafetensorError as error:
        shutil.rmtree(writing, ignore_errors=True)  # what is left of a full disk is needed to say so
        raise OSError(f"cannot write {adapter}: {error}") from error
    sums = "".join(f"{sha256(file)}  {file.name}\n" for file in sorted(writing.iterdir()))
    (writing / CHECKSUMS).write_text(sums, encoding="utf8")
    # A kill in between leaves none; the run's checkpoint is then of the evaluation before, and it is written again.
    shutil.rmtree(adapter, ignore_errors=True)
    os.replace(writing, adapter)


def check_adapter(adapter: Path) -> None:
    """Refuses an adapter that is pickled, damaged or not whole.

    Raises:
        AdapterError: It is; says which file.
    """
    if not (adapter / WEIGHTS).is_file():
        if (adapter / PICKLE).is_file():
            raise AdapterError(
                f"the adapter {adapter} has its weights in {PICKLE}, a pickle, which can hold code and is not loaded.\n"
                f"Allowed: {WEIGHTS}; PEFT writes it where the adapter is trusted: {_CONVERT.format(adapter)}"
            )
        raise AdapterError(f"the adapter {adapter} has no {WEIGHTS}")
    try:
        wrong = _wrong(adapter)
    except OSError as error:
        raise AdapterError(f"the adapter {adapter} cannot be read: {error.strerror or error}") from error
    if wrong:
        raise AdapterError(
            f"the adapter {adapter} is damaged: {wrong}. Delete it and run its trial again, or take another trial's"
        )


_CONVERT = (
    'model = AutoPeftModelForCausalLM.from_pretrained("{0}"); model.save_pretrained("{0}", safe_serialization=True)'
)


def _wrong(adapter: Path) -> str:
    """What is wrong with an adapter's files, in words; empty when nothing is."""
    try:
        if not isinstance(json.loads((adapter / SETTINGS).read_text(encoding="utf8")), dict):
            return f"{SETTINGS} holds no settings"
    except (ValueError, RecursionError):
        return f"{SETTINGS} is no JSON"
    if not _is_whole(adapter / WEIGHTS):
        return f"{WEIGHTS} is cut off or no safetensors file"
    if (adapter / CHECKSUMS).is_file():
        for line in (adapter / CHECKSUMS).read_text(encoding="utf8", errors="replace").splitlines():
            digest, _, name = line.partition("  ")
            file = adapter / Path(name).name
            if not file.is_file():
                return f"{file.name} is missing"
            if sha256(file) != digest:
                return f"{file.name} has changed since it was written (by {CHECKSUMS})"
    return ""


def _is_whole(file: Path) -> bool:
    """Whether a safetensors file is as long as its header says."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        header_bytes = int.from_bytes(opened.read(8), "little")
        if not 0 < header_bytes <= min(size - 8, LARGEST_HEADER):
            return False
        try:
            header = json.loads(opened.read(header_bytes))
            ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
            return bool(8 + header_bytes + max(ends, default=0) == size)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return False
