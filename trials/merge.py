"""Merges a trial's adapter into its base model: the base of a second stage, with tokenizer and chat template."""

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from trials.adapter_files import check_adapter
from trials.errors import ModelError
from trials.making import make_once
from trials.merged import RECORD, Merge
from trials.model import DTYPES, HUB_FILES, LOADING_ERRORS, BaseModel, find_model, load_base, model_fingerprint

# What of the base's folder is not the merged model's: its weights, and what save_pretrained writes.
_NOT_COPIED = ("*.safetensors", "*.safetensors.index.json", "config.json")


def make_merged(merge: Merge, cache: Path, trust_remote_code: bool = False) -> Path:
    """Returns the folder of a merged model, made on the first call. Processes may call this at once.

    Args:
        merge: What to make of what.
        cache: The cache folder of the default model.
        trust_remote_code: Whether the base may bring its own code.

    Raises:
        AdapterError: The adapter is damaged or pickled.
        ModelError: The base cannot be had or is another one, the adapter does not fit it, or the disk is too small.
    """
    if merge.folder.exists():
        return merge.folder
    check_adapter(merge.adapter)
    if merge.before is not None:
        make_merged(merge.before, cache, trust_remote_code)
    try:
        make_once(merge.folder, lambda part: _fill(part, merge, cache, trust_remote_code))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot write the merged model to {merge.folder}: {error}") from error
    return merge.folder


def _fill(part: Path, merge: Merge, cache: Path, trust_remote_code: bool) -> None:
    origin = merge.origin
    folder, name = find_model(merge.base, cache)
    if model_fingerprint(folder) != origin.base_fingerprint:
        raise ModelError(
            f"{folder} is not the model that study {origin.study!r} was trained on ({origin.base_name}): "
            "its weights or settings have changed since"
        )
    base = load_base(folder, name, origin.dtype if origin.dtype in DTYPES else "auto", trust_remote_code)
    _check_space(base.model, part)
    # load_base switches the cache off for training, which is no property of the model.
    base.model.config.use_cache = json.loads((folder / "config.json").read_text(encoding="utf8")).get("use_cache", True)
    _merge(base, merge).save_pretrained(part)
    for pattern in HUB_FILES:
        for file in folder.glob(pattern):
            if not any(file.match(kept) for kept in _NOT_COPIED):
                shutil.copy(file, part)
    (part / RECORD).write_text(json.dumps(origin.to_dict(), indent=2) + "\n", encoding="utf8")
    del base
    # Room for the merged model itself, which is loaded next.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _merge(base: BaseModel, merge: Merge) -> Any:
    """The base with the adapter's share added to its weights.

    The base has the type that it had in the study, so that the share is added to the very weights that it was trained
    on. PEFT adds in fp32, as the adapter is, and rounds the sum once. A base that was quantised for the study is taken
    unquantised, as nothing but its 4-bit form is lost by that.
    """
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(base.model, merge.adapter).merge_and_unload()
    except LOADING_ERRORS as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
        raise ModelError(f"the adapter {merge.adapter} cannot be put on {merge.origin.base_name}: {reason}") from error


def _check_space(model: Any, part: Path) -> None:
    """Refuses to begin what the disk cannot hold.

    Raises:
        ModelError: It cannot.
    """
    # By identity, because tied weights are saved once.
    needed = sum({id(p): p.numel() * p.element_size() for p in model.parameters()}.values())
    free = shutil.disk_usage(part).free
    if needed > free:
        raise ModelError(
            f"the merged model needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free in {part.parent}: "
            "make room there, or name another folder with --output"
        )
