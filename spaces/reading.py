"""Turns a space file's plain data into a SearchSpace, saying which knob is wrong where one is."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from spaces.checking import STAGES
from spaces.errors import SpaceError
from spaces.expressions import Constraint, Expression
from spaces.extending import Written, extend
from spaces.messages import did_you_mean, listed, located, shortened
from spaces.parameter import Choice, Float, Int, Parameter, Scalar, is_number
from spaces.space import SearchSpace
from spaces.yamlfile import parse_scalar

KEYS = ("extends", "description", "guide", "stage", "fixed", "search", "derived", "constraints", "start")
CONDITION_KEYS = ("when", "else")
RANGE_KEYS = ("log", "limits", *CONDITION_KEYS)
FORMS = "{float: [low, high]}, {int: [low, high]} or {choice: [a, b]}"


def read_space(raw: object, name: str, source: str, parent: SearchSpace | None = None) -> SearchSpace:
    """Build a space from what its file holds.

    Args:
        raw: The parsed file.
        name: The space's name.
        source: The file's path or name, for messages.
        parent: The space that the file extends, where it does.

    Raises:
        SpaceError: Anything in the file that is not as it should be; says the file, the knob and what is
            allowed.
    """
    with located(source):
        written = _written(raw)
        if parent is None and written.stage is None:
            raise SpaceError(f"stage is missing; allowed: {listed(STAGES)}")
    if parent is not None:
        return extend(parent, written, name, source)
    # Outside: the space puts its source in front of what it finds wrong by itself.
    return SearchSpace(
        name=name,
        description=written.description or "",
        guide=written.guide or "",
        stage=written.stage or "",
        fixed=written.fixed,
        search=written.search,
        derived=written.derived,
        constraints=written.constraints,
        start=written.start or (),
        source=source,
    )


def read_parent(raw: object) -> str | None:
    """Return what a space file extends: a shipped space's name or a path; none where it extends nothing.

    Raises:
        SpaceError: It is no text.
    """
    if not isinstance(raw, dict) or "extends" not in raw:
        return None
    named = raw["extends"]
    if not isinstance(named, str) or not named:
        raise SpaceError(f"extends is {shortened(named)}; write one shipped space's name, or a path")
    return named


def _written(raw: object) -> Written:
    top = _mapping(raw, "the file", "knobs under search, for one")
    _check_keys(top, KEYS)
    search = _section(top, "search", f"knob: {FORMS}")
    derived = _section(top, "derived", "knob: expression")
    constraints = _section(top, "constraints", "name: a <= b")
    description = _text(top, "description")
    return Written(
        description=None if description is None else description.strip(),
        guide=_text(top, "guide"),
        stage=_text(top, "stage"),
        fixed=_section(top, "fixed", "knob: value"),
        search=tuple(_each("search", search, _parameter).values()),
        derived=_each("derived", derived, _expression),
        constraints=tuple(_each("constraints", constraints, _constraint).values()),
        start=None if top.get("start") is None else _start(top["start"]),
    )


def _mapping(raw: object, what: str, example: str) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        given = "nothing" if raw is None else shortened(raw)
        raise SpaceError(f"{what} holds {given} where it should map names to values ({example})")
    return raw


def _section(top: Mapping[str, Any], key: str, example: str) -> Mapping[str, Any]:
    raw = top.get(key)
    return {} if raw is None else _mapping(raw, key, example)


def _check_keys(given: Collection[str], allowed: Collection[str]) -> None:
    for key in given:
        if key not in allowed:
            raise SpaceError(f"unknown key {shortened(key)}.{did_you_mean(key, allowed)} Allowed: {listed(allowed)}")


def _text(top: Mapping[str, Any], key: str) -> str | None:
    if key not in top:
        return None
    value = top[key]
    if not isinstance(value, str):
        raise SpaceError(f'{key} is {shortened(value)}; it should be text: put it in quotes, such as guide: "4.2"')
    return value


def _each(section: str, raw: Mapping[str, Any], read: Callable[[str, Any], Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in raw.items():
        with located(f"{section}.{name}"):
            values[name] = read(name, value)
    return values


def _expression(name: str, raw: object) -> Expression:
    if not isinstance(raw, str):
        raise SpaceError(f"{shortened(raw)} is no expression; a plain value belongs under fixed")
    return Expression(raw)


def _constraint(name: str, raw: object) -> Constraint:
    if not isinstance(raw, str):
        raise SpaceError(f"{shortened(raw)} is no comparison; write {name}: a <= b")
    return Constraint(name, raw)


def _start(raw: object) -> tuple[Mapping[str, Scalar], ...]:
    if not isinstance(raw, list):
        raise SpaceError("start is a list of points; write - {learning_rate: 1.0e-4, lora_rank: 8}")
    return tuple(_mapping(point, f"start point {index}", "knob: value") for index, point in enumerate(raw, 1))


def _parameter(name: str, raw: object) -> Parameter:
    if not isinstance(raw, dict):
        raise SpaceError(f"{shortened(raw)} is no search; write {FORMS}, or put a single value under fixed")
    kinds = [kind for kind in ("float", "int", "choice") if kind in raw]
    if len(kinds) != 1:
        given = f"{listed(kinds)} together" if kinds else f"none in {shortened(raw)}"
        raise SpaceError(f"a searched knob has one of float, int and choice ({given}); write {FORMS}")
    when = _expression("when", raw["when"]) if "when" in raw else None
    if "else" in raw and raw["else"] is None:
        raise SpaceError("`else` has no value; leave it out and the knob is absent where `when` does not hold")
    if kinds == ["choice"]:
        _check_keys(raw, ("choice", *CONDITION_KEYS))
        options = raw["choice"]
        if not isinstance(options, list):
            raise SpaceError(f"choice is {shortened(options)}; write a list, such as [8, 16]")
        return Choice(name, tuple(options), when, raw.get("else"))
    log = raw.get("log", False)
    if not isinstance(log, bool):
        raise SpaceError(f"log is {shortened(log)}; allowed: true, false")
    if kinds == ["float"]:
        _check_keys(raw, ("float", *RANGE_KEYS))
        low, high = map(float, _pair(raw, "float"))
        wide = tuple(map(float, _pair(raw, "limits"))) if "limits" in raw else None
        limits = (wide[0], wide[1]) if wide is not None else None
        return Float(name, low, high, log, limits, when, raw.get("else"))
    _check_keys(raw, ("int", "step", *RANGE_KEYS))
    lowest, highest = _whole_pair(raw, "int")
    whole_limits = _whole_pair(raw, "limits") if "limits" in raw else None
    return Int(name, lowest, highest, raw.get("step", 1), log, whole_limits, when, raw.get("else"))


def _pair(raw: Mapping[str, Any], key: str) -> tuple[int | float, int | float]:
    given = raw[key]
    numbers = [parse_scalar(v) if isinstance(v, str) else v for v in given] if isinstance(given, list) else []
    if len(numbers) != 2 or not is_number(numbers[0]) or not is_number(numbers[1]):
        raise SpaceError(f"{key} is {shortened(given)}; write two numbers, [low, high]")
    return numbers[0], numbers[1]


def _whole_pair(raw: Mapping[str, Any], key: str) -> tuple[int, int]:
    low, high = _pair(raw, key)
    if not isinstance(low, int) or not isinstance(high, int):
        raise SpaceError(f"{key} is {shortened(raw[key])}; an int range takes whole numbers")
    return low, high
