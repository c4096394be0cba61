"""A study's trials as a ranked table, and its numbers in words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.progress import format_learning_rate

COLUMNS = ("rank", "trial", "loss", "rank:alpha", "target", "lr", "batch", "state", "reason")
_STATE_ORDER = {"complete": 0, "pruned": 1, "running": 2, "parked": 2, "interrupted": 2, "failed": 3}


def ranked(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Trials from best to worst: complete ones by loss, then pruned ones by the best they reached."""

    def key(row: Mapping[str, Any]) -> tuple[int, float, int]:
        value = row["value"] if row["value"] is not None else math.inf
        return _STATE_ORDER.get(row["state"], 4), value, row["trial_number"]

    return sorted(rows, key=key)


def table(rows: Sequence[Mapping[str, Any]], most: int | None = None) -> list[str]:
    """The ranked trials as lines of text, with a heading; columns are as wide as they need to be.

    Args:
        rows: Rows of `sweep_trials`.
        most: Trials that are shown; the rest are counted in a last line. None for all.
    """
    best_first = ranked(rows)
    shown = best_first if most is None else best_first[:most]
    cells = [COLUMNS, *table_cells(shown)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS) - 1)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip()
        for line in cells
    ]
    hidden = len(best_first) - len(shown)
    return lines + ([f"… and {hidden} more: `sweep show` lists them all"] if hidden else [])


def table_cells(best_first: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The cells of the ranked table under `COLUMNS`."""
    return [_cells(place, row) for place, row in enumerate(best_first, start=1)]


def settings(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Rank and alpha, target, learning rate and batch; "-" for what a run that was made elsewhere does not tell."""
    rank, alpha, rate = row["lora_rank"], row["lora_alpha"], row["learning_rate"]
    adapter = "-" if rank is None else f"{rank}:{'-' if alpha is None else f'{alpha:g}'}"
    return (
        adapter,
        str(row["lora_target"] or "-"),
        "-" if rate is None else format_learning_rate(rate),
        str(row["effective_batch_size"] or "-"),
    )


def digits(row: Mapping[str, Any]) -> int:
    """Decimals of a loss: of ours three, of a table's run four, since tables print no digit in vain."""
    return 4 if row["config"] is None else 3


def ratio(row: Mapping[str, Any]) -> str:
    """Alpha to rank, as people say it: "2:1"."""
    value = row["lora_alpha"] / row["lora_rank"]
    return f"{value:g}:1" if value >= 1 else f"1:{1 / value:g}"


def _cells(place: int, row: Mapping[str, Any]) -> tuple[str, ...]:
    value = row["value"]
    return (
        str(place) if row["state"] == "complete" else "-",
        str(row["trial_number"]),
        "-" if value is None else f"{value:.{digits(row)}f}",
        *settings(row),
        row["state"],
        (row["reason"] or "").replace("\n", " "),
    )
