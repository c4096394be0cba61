"""Checks that a space makes sense as a whole, so that a mistake shows before the first trial."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from spaces.counting import first_value, last_value
from spaces.errors import SpaceError
from spaces.messages import did_you_mean, listed, located, shortened
from spaces.parameter import Parameter, is_number
from spaces.starting import check_start

if TYPE_CHECKING:
    from spaces.space import SearchSpace

STAGES = ("sft", "pt")
RESERVED = "stage"  # its own key of a space, and readable in expressions


def check_space(space: "SearchSpace") -> None:
    """Check everything that spans several knobs.

    Raises:
        SpaceError: An unknown stage, a knob in two places, an expression that reads an unknown knob or fails,
            knobs that depend on each other in a circle, a constraint that can never hold, a start point that
            is not allowed.
    """
    with located(space.source):
        _check_stage(space.stage)
        check_names(space.fixed, space.search, space.derived)
        _check_fixed(space)
        _check_expressions(space)
        _ = space._order  # refuses circles
    # Each end of every range can be drawn, so an expression that fails there would fail in some trial.
    for end in (first_value, last_value):
        space.violations(space.walk(end))
    _check_constant_constraints(space)
    check_start(space)


def _check_stage(stage: str) -> None:
    if stage not in STAGES:
        raise SpaceError(f"stage is {shortened(stage)}; allowed: {listed(STAGES)}")


def check_names(fixed: Collection[str], search: Collection[Parameter], derived: Collection[str]) -> None:
    """Refuse a name that is none, or that is in two places.

    Raises:
        SpaceError: Such a name.
    """
    places: dict[str, str] = {RESERVED: "a key of its own at the top"}
    named = [
        *(("fixed", name) for name in fixed),
        *(("search", knob.name) for knob in search),
        *(("derived", name) for name in derived),
    ]
    for place, name in named:
        if not name.isidentifier():
            raise SpaceError(f"{place}: {shortened(name)} is no knob name; use letters, digits and _")
        if name in places:
            raise SpaceError(f"{place}.{name}: {name} is in {places[name]} already; keep one of the two")
        places[name] = place


def _check_fixed(space: "SearchSpace") -> None:
    for name, value in space.fixed.items():
        items = list(value) if isinstance(value, (list, tuple)) else [value]
        if not items:
            raise SpaceError(f"fixed.{name}: an empty list; leave the knob out instead")
        for item in items:
            if not (isinstance(item, (str, bool)) or is_number(item)):
                kinds = "a finite number, text, true, false or a list of these"
                raise SpaceError(f"fixed.{name}: {shortened(item)} is not {kinds}")


def _check_expressions(space: "SearchSpace") -> None:
    known = {RESERVED, *knob_names(space)}
    reads = [
        *((f"search.{knob.name}.when", knob.when.names) for knob in space.search if knob.when is not None),
        *((f"derived.{name}", expression.names) for name, expression in space.derived.items()),
        *((f"constraints.{constraint.name}", constraint.names) for constraint in space.constraints),
    ]
    for where, names in reads:
        for name in sorted(names - known):
            raise SpaceError(
                f"{where}: unknown knob {shortened(name)}.{did_you_mean(name, known)} "
                f"This space has: {listed(knob_names(space))}"
            )


def _check_constant_constraints(space: "SearchSpace") -> None:
    """Refuse a constraint over knobs that never change and that does not hold: no trial could meet it."""
    constant = {RESERVED, *space.fixed}
    for name in space._order:
        if name in space.derived and space.derived[name].names <= constant:
            constant.add(name)
    params = space.walk(first_value)
    for constraint in space.constraints:
        if constraint.names <= constant and space.violations(params)[constraint.name] > 0:
            values = listed(f"{name} = {params[name]}" for name in sorted(constraint.names))
            where = f"{space.source}, constraints.{constraint.name}"
            raise SpaceError(f"{where}: {shortened(constraint.text)} can never hold with {values}")


def knob_names(space: "SearchSpace") -> list[str]:
    """Name all knobs of a space: the fixed, the searched, the derived."""
    return [*space.fixed, *(knob.name for knob in space.search), *space.derived]


def names_read(space: "SearchSpace") -> set[str]:
    """Name the knobs that some expression of the space reads."""
    read: set[str] = set()
    for knob in space.search:
        if knob.when is not None:
            read |= knob.when.names
    for expression in space.derived.values():
        read |= expression.names
    for constraint in space.constraints:
        read |= constraint.names
    return read


def check_fields(space: "SearchSpace", known: Collection[str]) -> None:
    """Refuse knobs that are neither a training field nor read by another knob or a constraint.

    Args:
        space: The space to look at.
        known: Names of the training fields.

    Raises:
        SpaceError: Such a knob, with the field that was probably meant.
    """
    read = names_read(space)
    for name in knob_names(space):
        if name not in known and name not in read:
            raise SpaceError(
                f"{space.source}, {name}: not a training field, and no other knob reads it."
                f"{did_you_mean(name, known)} Fields: {listed(sorted(known))}"
            )
