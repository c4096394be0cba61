"""Sets some knobs of a space anew, and keeps the rest of it consistent."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from spaces.assignments import Options, Range, Setting, Value, parse_assignment
from spaces.checking import RESERVED, knob_names, names_read
from spaces.drafting import FIELDS, Draft, without_orphans
from spaces.errors import SpaceError
from spaces.messages import did_you_mean, listed, located, shortened
from spaces.parameter import Choice, Float, Int, Parameter, is_number
from spaces.starting import carry_start

if TYPE_CHECKING:
    from spaces.space import SearchSpace

LOG_FROM = 10  # a new range whose bounds are at least this factor apart is searched by its logarithm


def override(space: "SearchSpace", assignments: Sequence[str], allowed: Collection[str] = ()) -> "SearchSpace":
    """Return the space with some knobs set anew; see `SearchSpace.override`.

    Raises:
        SpaceError: An unknown knob, a knob set twice, a bad form, an inverted range, or one beyond its
            limits.
    """
    if not assignments:
        return space
    draft = Draft.of(space)
    given: dict[str, str] = {}
    for text in assignments:
        with located(f"{space.source}, set {shortened(text)}"):
            name, setting = parse_assignment(text)
            if name in given:
                raise SpaceError(f"{name} is set already, by {shortened(given[name])}; keep one")
            _check_known(space, name, allowed)
            given[name] = text
            _apply(draft, name, setting)
    made = without_orphans(draft.build(space), draft, names_read(space), given, {*allowed, *FIELDS})
    return dataclasses.replace(made, start=carry_start(space, made))


def _check_known(space: "SearchSpace", name: str, allowed: Collection[str]) -> None:
    own = knob_names(space)
    if name not in own and name not in allowed and name != RESERVED:
        near = did_you_mean(name, {*own, *allowed})
        raise SpaceError(f"unknown knob {shortened(name)}.{near} This space has: {listed(own)}")


def _apply(draft: Draft, name: str, setting: Setting) -> None:
    if name == RESERVED:
        if not isinstance(setting, Value) or not isinstance(setting.value, str):
            raise SpaceError("stage takes one value, sft or pt")
        draft.stage = setting.value
        return
    old = draft.search.get(name)
    before = _values_before(draft, name)
    _check_numeric(name, before, setting)
    if isinstance(old, (Float, Int)) and old.limits is not None:
        _check_limits(name, old.limits, setting)
    if isinstance(setting, Value):
        draft.remove(name)
        draft.fixed[name] = setting.value
        return
    if isinstance(setting, Options):
        knob = _with_condition(Choice(name, setting.options), old)
    else:
        knob = _range(name, setting, old, before)
    draft.derived.pop(name, None)
    draft.fixed.pop(name, None)
    draft.search[name] = knob  # a knob that was searched keeps its place


def _values_before(draft: Draft, name: str) -> tuple[Any, ...]:
    """The values that tell what kind of knob it was; empty when it was derived or is new."""
    old = draft.search.get(name)
    if isinstance(old, Choice):
        return old.options
    if old is not None:
        return (old.low, old.high)
    return (draft.fixed[name],) if name in draft.fixed else ()


def _values_set(setting: Setting) -> tuple[Any, ...]:
    if isinstance(setting, Range):
        return (setting.low, setting.high)
    return setting.options if isinstance(setting, Options) else (setting.value,)


def _check_numeric(name: str, before: tuple[Any, ...], setting: Setting) -> None:
    if before and all(map(is_number, before)):
        for value in _values_set(setting):
            if not is_number(value):
                raise SpaceError(f"{name} takes numbers, not {shortened(value)}")
    elif before and isinstance(setting, Range):
        raise SpaceError(f"a range needs numbers, and {name} has {listed(before)}; fix it, or list choices")


def _check_limits(name: str, limits: tuple[float, float], setting: Setting) -> None:
    for value in _values_set(setting):
        if not limits[0] <= value <= limits[1]:
            raise SpaceError(f"{value} is beyond the limits of {name}, {limits[0]}..{limits[1]}")


def _range(name: str, setting: Range, old: Parameter | None, before: tuple[Any, ...]) -> Parameter:
    low, high = setting.low, setting.high
    if low > high:
        raise SpaceError(f"the range {low}..{high} is inverted; write {name}={high}..{low}")
    if isinstance(old, Float):
        return dataclasses.replace(old, low=float(low), high=float(high))
    if isinstance(old, Int):
        if low != int(low) or high != int(high):
            raise SpaceError(f"{name} takes whole numbers, not {low}..{high}")
        return dataclasses.replace(old, low=int(low), high=int(high))
    log = low > 0 and high / low >= LOG_FROM
    whole = all(isinstance(value, int) for value in (low, high, *before))
    if whole:
        return _with_condition(Int(name, int(low), int(high), log=log), old)
    return _with_condition(Float(name, float(low), float(high), log=log), old)


def _with_condition(knob: Parameter, old: Parameter | None) -> Parameter:
    """A knob that was searched keeps its condition."""
    return knob if old is None else dataclasses.replace(knob, when=old.when, otherwise=old.otherwise)
