"""The loss before training: what a base model has on a study's evaluation rows, measured once and kept in the cache."""

import json
import math
import os
from hashlib import sha256
from pathlib import Path

from trials.data import PreparedData
from trials.model import BaseModel
from trials.passing import mean_losses


def start_loss(base: BaseModel, data: PreparedData, cache_dir: Path) -> float | None:
    """The base's mean loss over the evaluation rows' label tokens, in nats per token; None where it is not finite.

    A fresh adapter changes nothing, so every curve begins there.

    Args:
        base: Without an adapter.
        data: Whose evaluation rows are taken.
        cache_dir: The measurement goes to `cache_dir/start-loss/`.
    """
    facts = base.facts
    key = f"{facts.fingerprint} {facts.dtype} {facts.quantization_bit} {data.facts.fingerprint}"
    path = cache_dir / "start-loss" / f"{sha256(key.encode()).hexdigest()[:16]}.json"
    try:
        known: float | None = json.loads(path.read_text(encoding="utf8"))["loss"]
    except (OSError, ValueError, KeyError, TypeError):  # not there, or half of it
        (measured,) = mean_losses(base, data.evaluation, [None])
        known = measured if math.isfinite(measured) else None
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")  # another process may be at it
        part.write_text(json.dumps({"loss": known}), encoding="utf8")
        part.replace(path)
    return known
