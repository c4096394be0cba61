"""Where prepared models and data are kept between runs."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """`LORA_SWEEP_CACHE`, else `lora-sweep` in the user's cache folder (XDG)."""
    asked = os.environ.get("LORA_SWEEP_CACHE")
    if asked:
        return Path(asked).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "lora-sweep"
