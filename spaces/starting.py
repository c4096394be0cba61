"""Start points: the settings that a search tries first, and how they survive when knobs are set anew."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spaces.errors import SpaceError
from spaces.messages import did_you_mean, listed, located, shortened
from spaces.parameter import Choice, Int, Parameter, Scalar

if TYPE_CHECKING:
    from spaces.space import SearchSpace


class _MissingValueError(Exception):
    """A start point leaves a searched knob open."""


def check_start(space: "SearchSpace") -> None:
    """Refuse start points that the search could not draw as they stand.

    Raises:
        SpaceError: A knob that is not searched, a value outside its range or options, or (where the point
            names every knob) a knob whose `when` does not hold, or a constraint missed.
    """
    knobs = {knob.name: knob for knob in space.search}
    for index, point in enumerate(space.start, 1):
        with located(f"{space.source}, start point {index}"):
            if not point:
                raise SpaceError("it is empty; name at least one searched knob, or leave the point out")
            for name, value in point.items():
                _check_value(space, knobs, name, value)
            _check_complete(space, point)


def _check_value(space: "SearchSpace", knobs: Mapping[str, Parameter], name: str, value: Scalar) -> None:
    if name in space.fixed or name in space.derived:
        kind = "fixed" if name in space.fixed else "derived"
        raise SpaceError(f"{name} is {kind}; a start point sets searched knobs: {listed(knobs)}")
    if name not in knobs:
        raise SpaceError(f"unknown knob {name!r}.{did_you_mean(name, knobs)} Searched: {listed(knobs)}")
    if not knobs[name].contains(value):
        raise SpaceError(f"{name} is {shortened(value)}; allowed: {allowed_values(knobs[name])}")


def _check_complete(space: "SearchSpace", point: Mapping[str, Scalar]) -> None:
    walked = walk_point(space, point)
    if walked is None:
        return
    params, asked = walked
    for name in point:
        if name not in asked:
            raise SpaceError(f"{name} does not exist at this point (its `when` does not hold); leave it out")
    for name, violation in space.violations(params).items():
        if violation > 0:
            raise SpaceError(f"the constraint {name} does not hold here; change the point or the constraint")


def walk_point(space: "SearchSpace", point: Mapping[str, Scalar]) -> tuple[dict[str, Any], set[str]] | None:
    """Walk the space with a point's values.

    Returns:
        Every knob's value and the searched knobs that exist there; none when the point leaves a knob open.

    Raises:
        SpaceError: An expression fails at this point.
    """
    asked: set[str] = set()

    def suggest(knob: Parameter) -> Scalar:
        if knob.name not in point:
            raise _MissingValueError
        asked.add(knob.name)
        return point[knob.name]

    try:
        return space.walk(suggest), asked
    except _MissingValueError:
        return None


def carry_start(old: "SearchSpace", new: "SearchSpace") -> tuple[Mapping[str, Scalar], ...]:
    """Carry the start points of one space over to another with some knobs set anew.

    A value moves to the nearest one allowed now; a knob that was fixed or derived and is searched now starts
    at the value it had; values of knobs that are no longer searched go, and so do points that become equal,
    empty, or miss a constraint.
    """
    carried: list[Mapping[str, Scalar]] = []
    for point in old.start:
        walked = walk_point(old, point)
        values = {**old.fixed, **point} if walked is None else walked[0]
        moved = _moved(new, values)
        if moved and moved not in carried:
            carried.append(moved)
    return tuple(carried)


def _moved(new: "SearchSpace", values: Mapping[str, Any]) -> dict[str, Scalar]:
    moved: dict[str, Scalar] = {}
    for knob in new.search:
        value = values.get(knob.name)
        nearest = knob.nearest(value) if isinstance(value, (str, int, float)) else None
        if nearest is not None:
            moved[knob.name] = nearest
    walked = walk_point(new, moved)
    if walked is None:
        return moved
    params, asked = walked
    if any(violation > 0 for violation in new.violations(params).values()):
        return {}
    return {name: value for name, value in moved.items() if name in asked}


def allowed_values(knob: Parameter) -> str:
    """Say what a knob may be: `8, 16, 32` or `0.0001..0.0002`."""
    if isinstance(knob, Choice):
        return listed(knob.options)
    step = f" in steps of {knob.step}" if isinstance(knob, Int) and knob.step != 1 else ""
    return f"{knob.low}..{knob.high}{step}"
