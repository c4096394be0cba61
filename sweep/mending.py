"""What a remedy means in a space: which knob makes the change that the guide asks for, and the settings after it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from spaces.errors import SpaceError
from spaces.parameter import Choice, Float, Parameter, Scalar, is_number
from spaces.space import SearchSpace
from sweep.batch_split import BATCH

# Two values of a logarithmic range that differ by no more than this factor count as the same; of another, by no more
# than this share of it. To try a remedy so near to what was tried would tell nothing.
SAME_FACTOR, SAME_SHARE = 1.25, 0.1


class Mend(NamedTuple):
    """Settings with one knob changed.

    Attributes:
        knob: The knob.
        settings: All searched knobs that exist at these values.
    """

    knob: str
    settings: dict[str, Any]


def mends(space: SearchSpace, before: Mapping[str, Any], remedy: Sequence[Mapping[str, Any]]) -> Iterator[Mend]:
    """Each change of a remedy that the space can make, as settings that differ in one knob.

    A change of a derived field is made by a knob that it is derived from. What leaves a range, or breaks a constraint,
    is not made: what may be tried is the user's to say.

    Args:
        space: What may be tried.
        before: A trial's searched knobs.
        remedy: Changes as `Diagnosis.to_dict` has them.
    """
    knobs = {knob.name: knob for knob in space.search if knob.name in before}
    values = _values(space, before)
    for change in remedy:
        field, wanted = change["setting"], change["after"]
        if field == "gradient_accumulation_steps" and is_number(wanted) and change["before"] and BATCH in values:
            # What is searched is the effective batch; the device decides how it is split.
            field, wanted = BATCH, values[BATCH] * wanted / change["before"]
        if wanted is None or field not in values:
            continue
        if field in knobs:
            changed = [(field, _nearest(knobs[field], before[field], wanted))]
        elif field in space.derived and is_number(wanted) and values[field]:
            changed = _through(space, knobs, before, field, wanted / values[field])
        else:
            continue
        for name, value in changed:
            settings = None if value is None else _allowed(space, {**before, name: value})
            if settings is not None:
                yield Mend(name, settings)


def same(space: SearchSpace, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two trials' settings are as good as equal."""
    knobs = {knob.name: knob for knob in space.search}
    return one.keys() == other.keys() and all(
        value == other[name] or _close(knobs.get(name), value, other[name]) for name, value in one.items()
    )


def _through(
    space: SearchSpace, knobs: Mapping[str, Parameter], before: Mapping[str, Any], field: str, factor: float
) -> list[tuple[str, Scalar | None]]:
    """Knobs that move a derived field the way of a factor, helpers first: alpha by its ratio leaves the rank alone."""
    changed: list[tuple[str, Scalar | None]] = []
    old = _values(space, before)[field]
    for name in sorted(space.derived[field].names & knobs.keys(), key=lambda name: (name.startswith("lora_"), name)):
        value = _nearest(knobs[name], before[name], before[name] * factor) if is_number(before[name]) else None
        new = old if value is None else _values(space, {**before, name: value}).get(field, old)
        if new != old and (new > old) == (factor > 1):
            changed.append((name, value))
    return changed


def _nearest(knob: Parameter, before: Scalar, wanted: Scalar) -> Scalar | None:
    """The allowed value nearest to the wanted one, on its side of the one before; None when there is none."""
    if not is_number(wanted) or not is_number(before):
        return wanted if knob.contains(wanted) and wanted != before else None
    if isinstance(knob, Choice):
        beyond = [value for value in knob.options if is_number(value) and (value - before) * (wanted - before) > 0]
        return min(beyond, key=lambda value: abs(value - wanted), default=None)
    value = knob.nearest(wanted)
    return value if value is not None and (value - before) * (wanted - before) > 0 else None


def _allowed(space: SearchSpace, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Those of the settings that the space asks for; None when it does not allow them."""
    asked: dict[str, Any] = {}

    def give(knob: Parameter) -> Any:
        asked[knob.name] = settings[knob.name]
        return settings[knob.name]

    try:
        violations = space.violations(space.walk(give))
    except (KeyError, SpaceError):  # a knob that the trial did not have
        return None
    inside = all(knob.contains(asked[knob.name]) for knob in space.search if knob.name in asked)
    return asked if inside and all(violation <= 0 for violation in violations.values()) else None


def _values(space: SearchSpace, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Every field at these settings; none where they lack a knob."""
    try:
        return space.walk(lambda knob: settings[knob.name])
    except (KeyError, SpaceError):
        return {}


def _close(knob: Parameter | None, one: Any, other: Any) -> bool:
    if not isinstance(knob, Float) or not is_number(one) or not is_number(other):
        return False
    if knob.log:
        return abs(math.log(one / other)) <= math.log(SAME_FACTOR)
    return abs(one - other) <= SAME_SHARE * (knob.high - knob.low)
