"""Moves a numeric knob by a factor, and widens a range: what the program does to a space, not its user."""

import dataclasses
from collections.abc import Sequence

from spaces.parameter import Choice, Float, Int, Parameter, Scalar, is_number
from spaces.space import SearchSpace

# Significant digits of a moved value: near enough to the product, and few enough to read well.
DIGITS = 2
# As many as tell any two floats apart.
MOST_DIGITS = 17


def moved(space: SearchSpace, name: str, factor: float) -> SearchSpace:
    """Return the space with all of a knob's values multiplied: a fixed one, the ends of a real range, or options.

    Values are rounded to two significant digits, or to as many more as keep them apart. A range is cut at its limits.
    Start points move along. A knob that is none of these (derived, a whole-number range, options that are not all
    numbers) stays as it is, and the same space is returned.

    Raises:
        SpaceError: Another knob or a constraint reads this one, and the space makes no sense any more.
    """
    fixed = space.fixed.get(name)
    if is_number(fixed):
        return dataclasses.replace(space, fixed={**space.fixed, name: _multiplied([fixed], factor)[0]})
    before = next((knob for knob in space.search if knob.name == name), None)
    after = None if before is None else _moved_knob(before, factor)
    if before is None or after is None:
        return space
    search = tuple(after if knob is before else knob for knob in space.search)
    start = tuple(
        {key: _moved_value(before, after, value, factor) if key == name else value for key, value in point.items()}
        for point in space.start
    )
    return dataclasses.replace(space, search=search, start=start)


def widened(space: SearchSpace, name: str, low: float, high: float) -> SearchSpace:
    """Return the space with a searched range's ends set anew; where the knob is not searched so, the same space.

    Raises:
        SpaceError: The range passes the knob's limits.
    """
    search: list[Parameter] = []
    for knob in space.search:
        if knob.name != name or isinstance(knob, Choice):
            search.append(knob)
        elif isinstance(knob, Int):
            search.append(dataclasses.replace(knob, low=int(low), high=int(high)))
        else:
            search.append(dataclasses.replace(knob, low=float(low), high=float(high)))
    return space if tuple(search) == tuple(space.search) else dataclasses.replace(space, search=tuple(search))


def _moved_knob(knob: Parameter, factor: float) -> Parameter | None:
    """The knob with its values multiplied; None where it has none that could be."""
    if isinstance(knob, Float):
        low, high = _multiplied([knob.low, knob.high], factor)
        if knob.limits is not None:
            least, most = knob.limits
            low, high = (min(max(end, least), most) for end in (low, high))
        return dataclasses.replace(knob, low=low, high=high)
    if isinstance(knob, Choice) and all(map(is_number, knob.options)):
        return dataclasses.replace(knob, options=tuple(_multiplied(knob.options, factor)))
    return None


def _moved_value(before: Parameter, after: Parameter, value: Scalar, factor: float) -> Scalar:
    """Where a start point's value goes: an option with the option, a value of a range to where the range has it."""
    if isinstance(before, Choice) and isinstance(after, Choice):
        return after.options[before.options.index(value)]
    nearest = after.nearest(_multiplied([value], factor)[0])
    return value if nearest is None else nearest


def _multiplied(values: Sequence[Scalar], factor: float) -> list[float]:
    products = [float(value) * factor for value in values]
    for digits in range(DIGITS, MOST_DIGITS):
        rounded = [float(f"{product:.{digits - 1}e}") for product in products]
        if len(set(rounded)) == len(set(products)):
            return rounded
    return products
