"""What a checkpoint is as files, for those who copy it without loading it. Torch-free."""

import hashlib
import json
from pathlib import Path

TENSORS, STATE = "tensors.safetensors", "state.json"
# The key of the state that holds the tensors' checksum.
CHECKSUM = "tensors_sha256"


def sha256(path: Path) -> str:
    """A file's SHA-256, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(checkpoint: Path) -> bool:
    """Whether a folder holds a checkpoint whose two files belong together."""
    try:
        state = json.loads((checkpoint / STATE).read_text(encoding="utf8"))
        return bool(state[CHECKSUM] == sha256(checkpoint / TENSORS))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
