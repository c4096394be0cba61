"""Where a merged model comes from: a base model and the adapter of a study's trial. Torch-free."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trials.errors import ModelError

# The file in a merged model's folder that holds its `Origin`.
RECORD = "lora_sweep_merged.json"
# The key of an adapter's settings that says where the base lay, which differs between machines.
_PLACE = "base_model_name_or_path"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a merged model is made of.

    Attributes:
        name: What people call the merged model.
        study: The study whose trial's adapter is merged.
        trial: The trial's number.
        value: Its evaluation loss, in nats per token.
        base_name: What people call the base model.
        base_fingerprint: The base's fingerprint, 16 hex characters.
        adapter_sha256: See `adapter_sha256`.
        dtype: "bf16" or "fp32": of the base's weights in the study, and of the merged ones.
    """

    name: str
    study: str
    trial: int
    value: float
    base_name: str
    base_fingerprint: str
    adapter_sha256: str
    dtype: str

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as the folder and the study keep it."""
        return asdict(self)


@dataclass(frozen=True)
class Merge:
    """A merged model that is to be made unless it is there.

    Attributes:
        base: A local folder or a hub name; empty for the default model.
        adapter: The adapter's folder, in PEFT's format.
        folder: Where the merged model goes.
        origin: What it is made of.
        before: How the base itself is made, when it is a merged model too and is not there.
    """

    base: str
    adapter: Path
    folder: Path
    origin: Origin
    before: "Merge | None" = None


def read_origin(folder: Path) -> Origin | None:
    """What a model's folder is made of; None when it is no merged model.

    Raises:
        ModelError: It cannot be read.
    """
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        return Origin(**json.loads(path.read_text(encoding="utf8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path} is damaged ({error}): delete its folder, and it is made again") from error


def adapter_sha256(adapter: Path) -> str:
    """Hex digest of an adapter's weights and settings, wherever its base lies.

    Raises:
        OSError: The adapter cannot be read.
    """
    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf8"))
    settings.pop(_PLACE, None)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    with (adapter / "adapter_model.safetensors").open("rb") as file:
        digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def adapters_base(adapter: Path) -> str:
    """The folder or hub name that an adapter names as its base."""
    return str(json.loads((adapter / "adapter_config.json").read_text(encoding="utf8"))[_PLACE])
