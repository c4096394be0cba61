"""What a study's failures were, in words: how trials broke, and what became of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweep.results import Breakdown

MOST_NAMED = 5  # trials of a class


def with_failures(rows: Sequence[Mapping[str, Any]], breakdowns: Sequence[Breakdown]) -> list[dict[str, Any]]:
    """Rows of `sweep_trials` whose reason says the class of the failure that ended a trial, where one did."""
    classes = {broke.trial_number: broke.failure for broke in breakdowns if broke.outcome == "failed"}
    return [{**row, "reason": _reason(row, classes.get(row["trial_number"]))} for row in rows]


def survived(breakdowns: Sequence[Breakdown]) -> str:
    """How often a trial broke and went on; empty when none did."""
    went_on = [broke for broke in breakdowns if broke.outcome == "continued"]
    told = []
    for failure in dict.fromkeys(broke.failure for broke in went_on):
        numbers = [broke.trial_number for broke in went_on if broke.failure == failure]
        named = list(dict.fromkeys(numbers))
        more = ", …" if len(named) > MOST_NAMED else ""
        told.append(f"{failure} {len(numbers)} (trial {', '.join(map(str, named[:MOST_NAMED]))}{more})")
    return f"broke and went on: {', '.join(told)}" if told else ""


def _reason(row: Mapping[str, Any], failure: str | None) -> str:
    reason = row["reason"] or ""
    # What says it already, as "out of memory with a single row" does, is not told twice.
    if row["state"] != "failed" or failure is None or str(reason).startswith(failure):
        return str(reason)
    return f"{failure}: {reason}"
