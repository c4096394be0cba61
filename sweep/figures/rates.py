"""Loss against learning rate, for each ratio of alpha to rank."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import plotly.graph_objects as go

from sweep import style
from sweep.figures.plot import LOSS, Plot, counted, new_figure
from sweep.progress import format_learning_rate
from sweep.table import ratio

SYMBOLS: Final = ("circle", "square", "diamond", "triangle-up", "triangle-down", "pentagon")


def loss_by_rate(rows: Sequence[Mapping[str, Any]]) -> Plot | None:
    """Each finished trial's loss at its learning rate; a series a ratio, pruned trials hollow.

    Args:
        rows: Rows of `sweep_trials`.

    Returns:
        None where the learning rate did not vary.
    """
    ended = [
        row
        for row in rows
        if row["state"] in ("complete", "pruned") and row["value"] is not None and (row["learning_rate"] or 0) > 0
    ]
    if len({row["learning_rate"] for row in ended}) < 2:
        return None
    levels: dict[float, list[Mapping[str, Any]]] = {}
    for row in ended:
        levels.setdefault(_ratio(row), []).append(row)
    figure = new_figure("learning rate", LOSS, xaxis_type="log")
    if len(levels) > len(SYMBOLS):  # too many to tell apart by colour
        _series(figure, ended, f"any ratio ({len(ended):,})", style.LEVELS[0], SYMBOLS[0])
    else:
        for place, (level, alike) in enumerate(sorted(levels.items())):
            name = f"{ratio(alike[0])} ({len(alike):,})" if level else f"ratio not told ({len(alike):,})"
            _series(figure, alike, name, style.LEVELS[place], SYMBOLS[place])
    figure.update_xaxes(exponentformat="power", dtick=_tick(ended))
    losses = sorted(row["value"] for row in ended)
    shown = losses[min(len(losses) - 1, int(0.95 * len(losses)))]
    if losses[-1] - losses[0] > 3 * (shown - losses[0]) > 0:
        room = 0.06 * (shown - losses[0])
        figure.update_yaxes(range=[losses[0] - room, shown + room])
    return Plot("learning-rate", "Loss by learning rate and alpha ratio", _finding(levels), figure)


def _tick(rows: Sequence[Mapping[str, Any]]) -> str | int:
    rates = [float(row["learning_rate"]) for row in rows]
    return "D2" if max(rates) < 30 * min(rates) else 1


def _ratio(row: Mapping[str, Any]) -> float:
    """Alpha over rank; 0 where it is not known."""
    rank, alpha = row["lora_rank"], row["lora_alpha"]
    return round(float(alpha) / float(rank), 3) if rank and alpha else 0.0


def _series(figure: go.Figure, rows: Sequence[Mapping[str, Any]], name: str, colour: str, symbol: str) -> None:
    figure.add_scatter(
        x=[float(f"{row['learning_rate']:.4g}") for row in rows],
        y=[round(float(row["value"]), 4) for row in rows],
        customdata=[f"{row['trial_number']}, {row['state']}" for row in rows],
        mode="markers",
        name=name,
        marker={
            "color": colour,
            "size": 8,
            "symbol": [symbol if row["state"] == "complete" else f"{symbol}-open" for row in rows],
            "line": {"width": 1.2, "color": colour},
        },
        hovertemplate="trial %{customdata}<br>%{y:.4f} at learning rate %{x}<extra>%{fullData.name}</extra>",
    )


def _finding(levels: Mapping[float, Sequence[Mapping[str, Any]]]) -> str:
    told = []
    for level, rows in sorted(levels.items()):
        complete = [row for row in rows if row["state"] == "complete"]
        if level and complete:
            best = min(complete, key=lambda row: float(row["value"]))
            rate = format_learning_rate(best["learning_rate"])
            told.append(f"{ratio(best)} is lowest at {rate} with {best['value']:.3f}")
    total = counted(sum(map(len, levels.values())), "finished trial")
    pruned = "Hollow marks are pruned trials, at the best that they reached."
    if not told or len(levels) > len(SYMBOLS):
        return f"{total} by learning rate. {pruned}"
    return f"{total}. Alpha to rank {'; '.join(told)}. {pruned}"
