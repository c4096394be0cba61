"""Whether every value that a space gives a training field is one that the field can have, before anything is loaded."""

from collections.abc import Iterator
from typing import Any

from spaces.parameter import Choice
from spaces.space import SearchSpace
from sweep.batch_split import BATCH
from sweep.errors import SweepError
from trials.config import FIELDS, TrialConfig
from trials.errors import ConfigError

# Resolved on the model's modules, and asked of the device.
_LATER = ("lora_target", "quantization_bit")


def check_values(space: SearchSpace) -> None:
    """Refuses a fixed value, an option, a bound or an `else` that no trial could have. Derived ones are not known yet.

    Raises:
        SweepError: There is one.
    """
    for name, value in _given(space):
        try:
            if name == BATCH:
                whole_batch(value)
            elif name in FIELDS and name not in _LATER:
                TrialConfig(**{name: value})
        except ConfigError as error:
            raise SweepError(f"{space.source}: {error}") from error


def whole_batch(value: Any) -> int:
    """The effective batch size; one that was derived may be a whole number with a point.

    Raises:
        ConfigError: It is no whole number of at least 1.
    """
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value >= 1 and value == int(value)
    if not whole:
        raise ConfigError(f"{BATCH} is {str(value)[:60]!r}; allowed: a whole number of at least 1")
    return int(value)


def _given(space: SearchSpace) -> Iterator[tuple[str, Any]]:
    yield from space.fixed.items()
    for knob in space.search:
        values = knob.options if isinstance(knob, Choice) else (knob.low, knob.high)
        yield from ((knob.name, value) for value in values)
        if knob.otherwise is not None:
            yield knob.name, knob.otherwise
