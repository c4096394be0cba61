"""What a comparison reads of a study, and what it says: in words, and as plain data for programs."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.comparison import Comparison, Level
from sweep.observations import Ended, Value
from sweep.progress import format_learning_rate
from trials.curve import LearningCurve
from trials.schedule import learning_progress, report_steps

HEADING = ("level", "trials", "pruned", "best", "at lr", "median", "effect [95 %]", "verdict")


def ended_trials(
    curves: Mapping[int, LearningCurve],
    rows: Sequence[Mapping[str, Any]],
    space: Mapping[str, Any],
    start: float | None = None,
) -> list[Ended]:
    """The finished trials of a study, with the knobs that its space searched and their curves.

    Fixed knobs are equal for all, and derived ones follow from the searched: to hold those is to hold all.

    Args:
        curves: Each trial's, by its number.
        rows: Rows of `sweep_trials`.
        space: The study's space as plain data (`SearchSpace.to_dict`).
        start: The loss before training, in nats per token, where it is known.
    """
    found = []
    for row in rows:
        if row["state"] not in ("complete", "pruned"):
            continue
        curve = curves.get(row["trial_number"], LearningCurve())
        losses = curve.eval_losses
        best = curve.best
        value = row["value"] if row["value"] is not None else None if best is None else best.eval_loss
        if value is None or not math.isfinite(value):
            continue
        knobs: dict[str, Value] = {
            name: _plain(row["params"][name]) for name in space["search"] if name in row["params"]
        }
        pruned, progress = row["state"] == "pruned", _progress(row["config"], curve)
        found.append(Ended(row["trial_number"], knobs, losses, float(value), progress, pruned, start))
    return found


def _progress(config: Mapping[str, Any] | None, curve: LearningCurve) -> list[float]:
    """A run's progress at all its reports; none for one that was made elsewhere."""
    if config is None or not curve.reports:
        return []
    last, scheduler, warmup = curve.reports[-1], config["lr_scheduler_type"], config["warmup_ratio"]
    return list(_learnt(scheduler, warmup, last.total_steps, last.total_evaluations))


@functools.cache  # a study's trials have few lengths and schedules
def _learnt(scheduler: str, warmup: float, total_steps: int, evaluations: int) -> tuple[float, ...]:
    return tuple(learning_progress(scheduler, warmup, total_steps, report_steps(total_steps, evaluations)))


def _plain(value: Any) -> Value:
    return value if isinstance(value, int | float | str) else ",".join(map(str, value))


def words(comparison: Comparison, study: str) -> list[str]:
    """A comparison as a table and notes."""
    held = ", ".join(comparison.held) or "nothing else varied"
    lines = [f"{study} by {comparison.by}, against {comparison.reference}; held fixed: {held}", ""]
    cells = [HEADING, *(level_cells(level, comparison.method) for level in comparison.levels)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADING) - 1)]
    for line in cells:
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        lines.append("  ".join([*padded, line[-1]]).rstrip())
    return [*lines, "", *comparison.notes]


def level_cells(level: Level, method: str) -> tuple[str, ...]:
    """A level's line under `HEADING`."""
    effect, verdict = level.effect, level.verdict
    told = "-"
    if effect is not None:
        low, high = (f"{end:+.4f}" if math.isfinite(end) else "?" for end in (effect.low, effect.high))
        told = f"{effect.difference:+.4f} [{low}, {high}]"
        if method == "paired":
            verdict += f" ({effect.basis} pair{'' if effect.basis == 1 else 's'})"
    elif level.why:
        verdict += f" ({level.why})"
    return (
        level.label,
        str(level.complete + level.pruned),
        str(level.pruned),
        "-" if level.best is None else f"{level.best:.4f}",
        "-" if level.best_rate is None else format_learning_rate(level.best_rate),
        f"{level.median:.4f}",
        told,
        verdict,
    )


def plain(comparison: Comparison, study: str) -> dict[str, Any]:
    """A comparison as JSON holds it: losses in nats per token, an open end of an interval as null."""
    return {
        "study": study,
        "by": comparison.by.split(","),
        "reference": comparison.reference,
        "method": comparison.method,
        "held_fixed": list(comparison.held),
        "noise": comparison.noise,
        "repeats": comparison.repeats,
        "levels": [_plain_level(level) for level in comparison.levels],
        "notes": list(comparison.notes),
    }


def _plain_level(level: Level) -> dict[str, Any]:
    found: dict[str, Any] = {
        "level": level.label,
        "complete": level.complete,
        "pruned": level.pruned,
        "best": level.best,
        "best_learning_rate": level.best_rate,
        "median": level.median,
        "verdict": level.verdict,
        "why": level.why or None,
        "effect": None,
    }
    if level.effect is not None:
        low, high = (end if math.isfinite(end) else None for end in (level.effect.low, level.effect.high))
        found["effect"] = {
            "difference": level.effect.difference,
            "low": low,
            "high": high,
            "basis": level.effect.basis,
        }
    return found
