"""How large a space is: its distinct discrete settings, and the knobs that are continuous."""

import itertools
import math
from typing import TYPE_CHECKING

from spaces.parameter import Choice, Float, Int, Parameter, Scalar

if TYPE_CHECKING:
    from spaces.space import SearchSpace

MOST_ENUMERATED = 100_000  # combinations; beyond, counting exactly would take seconds


def count_settings(space: "SearchSpace") -> tuple[int, tuple[str, ...]]:
    """Count the distinct discrete settings, and name the continuous knobs.

    Only knobs that take part in a `when` are enumerated; the others multiply. When those are more than
    100,000 combinations, conditions are left out of the count. A `when` that reads a continuous knob is
    judged at that knob's lower bound.

    Returns:
        The number of settings, and the real-valued knobs in the file's order (one with equal bounds is
        fixed).

    Raises:
        SpaceError: An expression fails on some setting.
    """
    discrete = [knob for knob in space.search if not isinstance(knob, Float)]
    continuous = tuple(knob.name for knob in space.search if isinstance(knob, Float) and knob.low < knob.high)
    entangled = _names_in_conditions(space)
    involved = [knob for knob in discrete if knob.name in entangled]
    free = math.prod(len(knob.values()) for knob in discrete if knob.name not in entangled)
    combinations = math.prod(len(knob.values()) for knob in involved)
    if combinations <= MOST_ENUMERATED:
        combinations = _count_distinct(space, involved)
    return free * combinations, continuous


def _names_in_conditions(space: "SearchSpace") -> set[str]:
    """The knobs that a `when` reads, through derived ones too, and those that have one."""
    names: set[str] = set()
    pending: list[str] = []
    for knob in space.search:
        if knob.when is not None:
            pending += [knob.name, *knob.when.names]
    while pending:
        name = pending.pop()
        if name not in names:
            names.add(name)
            if name in space.derived:
                pending += space.derived[name].names
    return names


def _count_distinct(space: "SearchSpace", involved: list[Int | Choice]) -> int:
    names = [knob.name for knob in involved]
    distinct: set[tuple[Scalar | None, ...]] = set()
    for combination in itertools.product(*(knob.values() for knob in involved)):
        drawn: dict[str, Scalar] = dict(zip(names, combination, strict=True))
        asked: set[str] = set()

        def suggest(knob: Parameter, drawn: dict[str, Scalar] = drawn, asked: set[str] = asked) -> Scalar:
            asked.add(knob.name)
            return drawn[knob.name] if knob.name in drawn else first_value(knob)

        space.walk(suggest)
        distinct.add(tuple(drawn[name] if name in asked else None for name in names))
    return len(distinct)


def first_value(knob: Parameter) -> Scalar:
    """The lower bound, or the first option."""
    return knob.options[0] if isinstance(knob, Choice) else knob.low


def last_value(knob: Parameter) -> Scalar:
    """The upper bound, or the last option."""
    return knob.options[-1] if isinstance(knob, Choice) else knob.high
