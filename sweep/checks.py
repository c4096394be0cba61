"""A check of what a trial is about to do: what was found, and what is wrong with it (guide 2.4)."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One check's finding, in words.

    Attributes:
        name: What was looked at, in a word.
        told: What was found.
        faults: What is wrong, each with the way out; empty when all is well.
    """

    name: str
    told: str
    faults: tuple[str, ...] = ()


def faults(checks: Iterable[Check]) -> list[str]:
    """All that is wrong, in the order of the checks."""
    return list(dict.fromkeys(fault for check in checks for fault in check.faults))
