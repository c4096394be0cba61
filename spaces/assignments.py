"""Reads what a user sets on the command line: `knob=16`, `knob=1e-5..1e-2` or `knob=8,16,32`."""

from dataclasses import dataclass
from typing import TypeAlias

from spaces.errors import SpaceError
from spaces.messages import shortened
from spaces.parameter import Scalar, is_number
from spaces.yamlfile import parse_scalar

FORMS = "write knob=16 (fixed), knob=1e-5..1e-2 (a range) or knob=8,16,32 (a choice)"


@dataclass(frozen=True)
class Value:
    """One value: the knob is fixed."""

    value: Scalar


@dataclass(frozen=True)
class Range:
    """Two bounds: the knob is searched between them."""

    low: int | float
    high: int | float


@dataclass(frozen=True)
class Options:
    """Several values: the knob is searched among them."""

    options: tuple[Scalar, ...]


Setting: TypeAlias = Value | Range | Options


def parse_assignment(text: str) -> tuple[str, Setting]:
    """Split an assignment into its knob and what it sets.

    Args:
        text: Such as `lora_rank=8,16`. A comma always separates options; a list of target modules within one
            option is written `q_proj+v_proj` and stays text.

    Raises:
        SpaceError: None of the three forms.
    """
    name, equals, given = text.partition("=")
    name, given = name.strip(), given.strip()
    if not equals or not name or not given or given[0] in "[{":
        raise SpaceError(FORMS)
    if "," in given:
        return name, Options(tuple(_scalar(item) for item in given.split(",")))
    # A path such as ../rows.jsonl has two dots and is no range.
    if ".." in given and "/" not in given:
        low, _, high = given.partition("..")
        return name, Range(_number(low), _number(high))
    return name, Value(_scalar(given))


def _scalar(text: str) -> Scalar:
    value = parse_scalar(text.strip())
    if value is None:
        raise SpaceError(f"a value is missing or null; {FORMS}")
    return value


def _number(text: str) -> int | float:
    value = parse_scalar(text.strip())
    if not is_number(value):
        raise SpaceError(f"the bound {shortened(text)} is not a number; {FORMS}")
    return value
