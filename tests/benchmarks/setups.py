"""What the benchmarks' workers load."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from trials.paths import cache_dir
from trials.protocol import WorkerSetup

# The default model and data out of the user's cache, 32 rows, one evaluation row, one thread.
DEFAULT = WorkerSetup(
    model="",
    dataset="",
    stage="sft",
    cutoff_len=128,
    max_samples=32,
    val_size=1,
    seed=42,
    dtype="auto",
    quantization_bit=None,
    threads=1,
    trust_remote_code=False,
    cache_dir=cache_dir(),
)


def tiny_setup(folder: Path, **changes: Any) -> WorkerSetup:
    """The tiny model and chats that lie in `folder`, in fp32."""
    tiny = {"model": str(folder / "model"), "dataset": str(folder / "chats.jsonl"), "cache_dir": folder / "cache"}
    return replace(DEFAULT, **{"max_samples": None, "val_size": 8, "dtype": "fp32", **tiny, **changes})
