"""QLoRA in a space: whether its base model is quantised, which is one thing for a whole study."""

from collections.abc import Mapping
from typing import Any

from spaces.parameter import Choice
from spaces.space import SearchSpace
from sweep.errors import SweepError
from trials.config import QUANTIZATION_BITS, WHY_NOT_DORA, WHY_NOT_PISSA
from trials.protocol import ModelFacts

KNOB = "quantization_bit"
OFF, AUTO = 0, "auto"
ALLOWED = (OFF, *QUANTIZATION_BITS, AUTO)


def asked_bits(space: SearchSpace) -> int | str | None:
    """4, 8, "auto" (4 where that runs on a GPU), or None for a base as it is.

    Raises:
        SweepError: Something else, or a variant of LoRA that does not go with it.
    """
    bits = space.fixed.get(KNOB, OFF)
    if isinstance(bits, bool) or bits not in ALLOWED:
        raise SweepError(
            f"{space.source} has {KNOB} {bits!r}; allowed: {OFF} (off), "
            f"{', '.join(map(str, QUANTIZATION_BITS))}, {AUTO} (4 where that runs on a GPU)"
        )
    if bits == OFF:
        return None
    for variant, why, against in (("pissa_init", WHY_NOT_PISSA, ALLOWED), ("use_dora", WHY_NOT_DORA, (8,))):
        if bits in against and _may_be_true(space, variant):
            raise SweepError(
                f"{space.source} has {variant} true with {KNOB} {bits}; {why}.\n"
                f"Leave one out: --set {KNOB}={OFF} or --set {variant}=false"
            )
    return bits if bits == AUTO else int(str(bits))


def precision(model: ModelFacts | Mapping[str, Any]) -> str:
    """What a base is held in besides its own type, for people; empty for a plain one."""
    bits = model.get(KNOB) if isinstance(model, Mapping) else model.quantization_bit
    return "" if bits is None else "4-bit nf4" if bits == 4 else f"{bits}-bit"


def quantization_note(model: ModelFacts) -> str | None:
    """What to tell a user whose base was to be quantised where possible, and is not."""
    if not model.not_quantized:
        return None
    return f"the base is not quantised ({KNOB}: {AUTO}): {model.not_quantized}"


def _may_be_true(space: SearchSpace, name: str) -> bool:
    knobs = [knob for knob in space.search if knob.name == name and isinstance(knob, Choice)]
    return space.fixed.get(name) is True or any(True in (*knob.options, knob.otherwise) for knob in knobs)
