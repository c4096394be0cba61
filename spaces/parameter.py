"""The three kinds of knob that a search can turn: a real range, a whole-number range, a choice."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

from spaces.errors import SpaceError
from spaces.expressions import Expression
from spaces.messages import shortened

Scalar: TypeAlias = str | int | float | bool


def is_number(value: object) -> TypeGuard[int | float]:
    """Tell whether a value is a finite number; true and false are not."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def is_same(left: object, right: object) -> bool:
    """Compare two scalars, holding true apart from 1 and false from 0."""
    return isinstance(left, bool) == isinstance(right, bool) and left == right


@dataclass(frozen=True)
class Float:
    """A real knob between two bounds, both included.

    Attributes:
        name: The knob.
        low: Lower bound, in the knob's own unit.
        high: Upper bound.
        log: Search the logarithm evenly, for knobs that span magnitudes.
        limits: Bounds that no widening may pass, or none.
        when: The knob exists only where this holds; without it, always.
        otherwise: The value that the knob has where `when` does not hold; without it, the knob is absent
            there.
    """

    name: str
    low: float
    high: float
    log: bool = False
    limits: tuple[float, float] | None = None
    when: Expression | None = None
    otherwise: Scalar | None = None

    def __post_init__(self) -> None:
        _check_range(self)

    def contains(self, value: object) -> bool:
        """Tell whether the search may draw this value."""
        return is_number(value) and self.low <= value <= self.high

    def nearest(self, value: Scalar) -> float | None:
        """Return the allowed value nearest to this one; none when it is not a number."""
        return float(min(max(value, self.low), self.high)) if is_number(value) else None

    def spec(self) -> dict[str, Any]:
        """Return the knob as a space file writes it."""
        return {"float": [float(self.low), float(self.high)], **_range_spec(self)}


@dataclass(frozen=True)
class Int:
    """A whole-number knob between two bounds, both included.

    Attributes:
        name: The knob.
        low: Lower bound, in the knob's own unit.
        high: Upper bound, a whole number of steps above the lower.
        step: Distance between neighbouring values; 1 with `log`.
        log: Search the logarithm evenly, for knobs that span magnitudes.
        limits: Bounds that no widening may pass, or none.
        when: The knob exists only where this holds; without it, always.
        otherwise: The value that the knob has where `when` does not hold; without it, the knob is absent
            there.
    """

    name: str
    low: int
    high: int
    step: int = 1
    log: bool = False
    limits: tuple[int, int] | None = None
    when: Expression | None = None
    otherwise: Scalar | None = None

    def __post_init__(self) -> None:
        for value in (self.low, self.high, self.step, *(self.limits or ())):
            if not isinstance(value, int) or isinstance(value, bool):
                raise SpaceError(f"an int range takes whole numbers, not {shortened(value)}")
        _check_range(self)
        if self.step < 1 or (self.high - self.low) % self.step:
            raise SpaceError(f"step {self.step} does not lead from {self.low} to {self.high}")
        if self.log and self.step != 1:
            raise SpaceError(f"log and step {self.step} exclude each other; leave one out")

    def contains(self, value: object) -> bool:
        """Tell whether the search may draw this value."""
        return isinstance(value, int) and not isinstance(value, bool) and value in self.values()

    def nearest(self, value: Scalar) -> int | None:
        """Return the allowed value nearest to this one; none when it is not a number."""
        if not is_number(value):
            return None
        steps = round((min(max(value, self.low), self.high) - self.low) / self.step)
        return self.low + self.step * steps

    def values(self) -> range:
        """Return every value that the search may draw."""
        return range(self.low, self.high + 1, self.step)

    def spec(self) -> dict[str, Any]:
        """Return the knob as a space file writes it."""
        step = {"step": self.step} if self.step != 1 else {}
        return {"int": [self.low, self.high], **step, **_range_spec(self)}


@dataclass(frozen=True)
class Choice:
    """A knob with a list of options.

    Attributes:
        name: The knob.
        options: Numbers, text, true or false; their order carries no meaning for the search.
        when: The knob exists only where this holds; without it, always.
        otherwise: The value that the knob has where `when` does not hold; without it, the knob is absent
            there.
    """

    name: str
    options: tuple[Scalar, ...]
    when: Expression | None = None
    otherwise: Scalar | None = None

    def __post_init__(self) -> None:
        if not self.options:
            raise SpaceError("a choice needs at least one option")
        for option in self.options:
            if isinstance(option, float) and not math.isfinite(option):
                raise SpaceError(f"the option {option} is not a finite number")
            if not isinstance(option, (str, int, float)):
                raise SpaceError(f"an option is a number, text, true or false, not {shortened(option)}")
        # 1, 1.0 and true are one option: a study's storage could not tell them apart.
        seen: set[Scalar] = set()
        for option in self.options:
            if option in seen:
                raise SpaceError(f"the option {shortened(option)} is listed twice")
            seen.add(option)
        _check_otherwise(self)

    def contains(self, value: object) -> bool:
        """Tell whether the search may draw this value."""
        return any(is_same(option, value) for option in self.options)

    def nearest(self, value: Scalar) -> Scalar:
        """Return the option itself, else the numeric option nearest to it, else the first option."""
        if self.contains(value):
            return value
        numbers = [option for option in self.options if is_number(option)]
        if is_number(value) and numbers:
            return min(numbers, key=lambda option: abs(option - value))
        return self.options[0]

    def values(self) -> tuple[Scalar, ...]:
        """Return every value that the search may draw."""
        return self.options

    def spec(self) -> dict[str, Any]:
        """Return the knob as a space file writes it."""
        return {"choice": list(self.options), **_condition_spec(self)}


Parameter: TypeAlias = Float | Int | Choice


def _check_range(knob: Float | Int) -> None:
    for value in (knob.low, knob.high, *(knob.limits or ())):
        if not is_number(value):
            raise SpaceError(f"a range takes finite numbers, not {shortened(value)}")
    if knob.low > knob.high:
        raise SpaceError(f"the range {knob.low}..{knob.high} is inverted: the lower bound comes first")
    if knob.log and knob.low <= 0:
        raise SpaceError(f"a log range starts above 0, not at {knob.low}")
    if knob.limits is not None:
        lowest, highest = knob.limits
        if not lowest <= knob.low <= knob.high <= highest:
            raise SpaceError(f"the range {knob.low}..{knob.high} passes its limits {lowest}..{highest}")
    _check_otherwise(knob)


def _check_otherwise(knob: Float | Int | Choice) -> None:
    if knob.otherwise is None:
        return
    if knob.when is None:
        raise SpaceError("`else` says what the knob is where `when` does not hold, and there is no `when`")
    if not (isinstance(knob.otherwise, (str, bool)) or is_number(knob.otherwise)):
        raise SpaceError(f"`else` takes a number, text, true or false, not {shortened(knob.otherwise)}")


def _range_spec(knob: Float | Int) -> dict[str, Any]:
    log = {"log": True} if knob.log else {}
    limits = {"limits": list(knob.limits)} if knob.limits is not None else {}
    return {**log, **limits, **_condition_spec(knob)}


def _condition_spec(knob: Float | Int | Choice) -> dict[str, Any]:
    when = {"when": knob.when.canonical} if knob.when is not None else {}
    otherwise = {"else": knob.otherwise} if knob.otherwise is not None else {}
    return {**when, **otherwise}
