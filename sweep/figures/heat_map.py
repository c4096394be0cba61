"""The best loss at each rank and alpha."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import plotly.graph_objects as go

from sweep import style
from sweep.figures.plot import Plot, counted, new_figure
from sweep.numbers import number

# Values of rank or alpha beyond which cells are too small to read.
MOST_CELLS: Final = 24
# Share of the scale from which on it is dark.
MIDDLE: Final = 0.53
INK_ON_LIGHT: Final = "#000000"
INK_ON_DARK: Final = "#FFFFFF"

At = tuple[float, float]  # a rank and an alpha


def rank_and_alpha(rows: Sequence[Mapping[str, Any]]) -> Plot | None:
    """A map of the lowest loss of the trials at each rank and alpha.

    A cell with no complete trial shows the best that its pruned ones reached.

    Args:
        rows: Rows of `sweep_trials`.

    Returns:
        None where neither varied, or where there are too many values for a map.
    """
    cells: dict[At, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["state"] in ("complete", "pruned") and None not in (row["value"], row["lora_rank"], row["lora_alpha"]):
            cells.setdefault((float(row["lora_rank"]), float(row["lora_alpha"])), []).append(row)
    ranks, alphas = sorted({rank for rank, _ in cells}), sorted({alpha for _, alpha in cells})
    if len(cells) < 2 or max(len(ranks), len(alphas)) > MOST_CELLS:
        return None
    found = {at: _lowest(alike) for at, alike in cells.items()}
    best = min(found, key=lambda at: (found[at]["state"] != "complete", found[at]["value"]))
    figure = new_figure("rank", "alpha", xaxis_type="category", yaxis_type="category", margin_r=10)
    figure.add_heatmap(
        x=[number(rank) for rank in ranks],
        y=[number(alpha) for alpha in alphas],
        z=[[_value(found.get((rank, alpha))) for rank in ranks] for alpha in alphas],
        text=[[_words(found.get((rank, alpha)), cells.get((rank, alpha), [])) for rank in ranks] for alpha in alphas],
        colorscale=style.SCALE,
        reversescale=True,
        xgap=2,
        ygap=2,
        colorbar={"title": {"text": "loss"}, "thickness": 12, "outlinewidth": 0},
        hovertemplate="rank %{x}, alpha %{y}<br>%{text}<extra></extra>",
        hoverongaps=False,
    )
    _write_cells(figure, found, cells)
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(showgrid=False)
    height = max(300, min(640, 140 + 56 * len(alphas)))
    return Plot("rank-alpha", "Rank and alpha", _finding(best, found, cells), figure, height)


def _write_cells(
    figure: go.Figure, found: Mapping[At, Mapping[str, Any]], cells: Mapping[At, Sequence[Mapping[str, Any]]]
) -> None:
    """Writes each cell's words, dark on the light ones and light on the dark ones: plotly's own grey is too faint."""
    values = [float(row["value"]) for row in found.values()]
    low, span = min(values), max(values) - min(values)
    for ink, dark in ((INK_ON_LIGHT, False), (INK_ON_DARK, True)):
        alike = [at for at, row in found.items() if (float(row["value"]) - low > MIDDLE * span) is dark]
        figure.add_scatter(
            x=[number(rank) for rank, _ in alike],
            y=[number(alpha) for _, alpha in alike],
            text=[_words(found[at], cells[at]) for at in alike],
            mode="text",
            textfont={"color": ink},
            hoverinfo="skip",
            showlegend=False,
        )


def _lowest(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The best complete trial; without one, the pruned one that came lowest."""
    return min(rows, key=lambda row: (row["state"] != "complete", row["value"]))


def _value(row: Mapping[str, Any] | None) -> float | None:
    return None if row is None else round(float(row["value"]), 4)


def _words(row: Mapping[str, Any] | None, alike: Sequence[Mapping[str, Any]]) -> str:
    if row is None:
        return ""
    pruned = "" if row["state"] == "complete" else " pruned"
    return f"{row['value']:.3f}<br>{len(alike)}{pruned}"


def _finding(
    best: At,
    found: Mapping[At, Mapping[str, Any]],
    cells: Mapping[At, Sequence[Mapping[str, Any]]],
) -> str:
    worst = max(found, key=lambda at: float(found[at]["value"]))
    total = sum(map(len, cells.values()))
    return (
        f"The lowest loss is {found[best]['value']:.3f}, at rank {number(best[0])} and alpha {number(best[1])}; the "
        f"highest of a cell's best is {found[worst]['value']:.3f}, at rank {number(worst[0])} and alpha "
        f"{number(worst[1])}. Each of {counted(len(cells), 'cell')} holds its lowest loss and its number of trials, "
        f"{total:,} in all; other knobs vary within a cell."
    )
