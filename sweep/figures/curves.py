"""All learning curves of a study in one plot, by how each trial ended."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go

from sweep import style
from sweep.figures.plot import LOSS, Plot, counted, new_figure
from sweep.table import ranked
from trials.curve import LearningCurve

# Which is drawn over which, from below.
ORDER: Final = ("failed", "pruned", "interrupted", "parked", "running", "complete")
DASHES: Final = {"failed": "dot", "pruned": "solid", "running": "dash", "interrupted": "dashdot", "parked": "dashdot"}
HEADROOM: Final = 98.0  # percentile of the first losses up to which the axis goes at least
MOST_ROOM: Final = 1.5  # times that, and all is shown
DIGITS: Final = 4  # of a loss, behind the point


def learning_curves(
    rows: Sequence[Mapping[str, Any]], curves: Mapping[int, LearningCurve], most: int | None = None
) -> Plot | None:
    """Evaluation loss over the share of each trial's steps, coloured by outcome, pruned ends marked.

    Args:
        rows: Rows of `sweep_trials`.
        curves: Each trial's curve, by its number.
        most: Curves that are drawn, evenly from the best to the worst; None for all.

    Returns:
        None where no trial has been evaluated.
    """
    known = [row for row in ranked(rows) if _points(curves.get(row["trial_number"]))]
    if not known:
        return None
    drawn = known if most is None else _thinned(known, most)
    figure = new_figure("share of the trial's steps, %", LOSS)
    for state in ORDER:
        alike = [row for row in drawn if row["state"] == state]
        if alike:
            _lines(figure, alike, curves, state)
    pruned = [row for row in drawn if row["state"] == "pruned"]
    if pruned:
        _ends(figure, pruned, curves)
    best = known[0] if known[0]["state"] == "complete" else None
    if best is not None:
        _best(figure, best, curves)
    low, high, above = _window([_points(curves[row["trial_number"]]) for row in drawn])
    figure.update_yaxes(range=[low, high])
    figure.update_xaxes(range=[0, 101])
    return Plot("learning-curves", "Learning curves", _finding(known, drawn, best, above), figure, 480)


def _points(curve: LearningCurve | None) -> list[tuple[float, float]]:
    """Share of the steps in per cent, and loss; what is no number is left out."""
    reports = curve.reports if curve else []
    return [
        (round(100 * report.step / max(1, report.total_steps), 1), round(report.eval_loss, DIGITS))
        for report in reports
        if math.isfinite(report.eval_loss)
    ]


def _thinned(rows: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    if len(rows) <= most:
        return list(rows)
    return [rows[round(place)] for place in np.linspace(0, len(rows) - 1, most)]


def _lines(
    figure: go.Figure, rows: Sequence[Mapping[str, Any]], curves: Mapping[int, LearningCurve], state: str
) -> None:
    """Adds the curves of one state as one series, with gaps between: a series a trial would take plotly seconds."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    numbers: list[int | None] = []
    for row in rows:
        points = _points(curves[row["trial_number"]])
        xs += [x for x, _ in points] + [None]
        ys += [y for _, y in points] + [None]
        numbers += [row["trial_number"]] * len(points) + [None]
    few = len(rows) < 30
    figure.add_scatter(
        x=xs,
        y=ys,
        customdata=numbers,
        mode="lines",
        name=f"{state} ({len(rows):,})",
        line={"color": style.STATES[state], "width": 1.6 if few else 1, "dash": DASHES.get(state, "solid")},
        opacity=0.9 if few else 0.55,
        hovertemplate=f"trial %{{customdata}}, {state}<br>%{{y:.4f}} at %{{x:.0f}} %<extra></extra>",
    )


def _ends(figure: go.Figure, rows: Sequence[Mapping[str, Any]], curves: Mapping[int, LearningCurve]) -> None:
    ends = [(row, _points(curves[row["trial_number"]])[-1]) for row in rows]
    figure.add_scatter(
        x=[point[0] for _, point in ends],
        y=[point[1] for _, point in ends],
        customdata=[row["trial_number"] for row, _ in ends],
        mode="markers",
        name="pruned here",
        marker={"symbol": "x", "size": 7, "color": style.PRUNED},
        hovertemplate="trial %{customdata}, pruned at %{x:.0f} %<br>%{y:.4f}<extra></extra>",
    )


def _best(figure: go.Figure, row: Mapping[str, Any], curves: Mapping[int, LearningCurve]) -> None:
    points = _points(curves[row["trial_number"]])
    figure.add_scatter(
        x=[x for x, _ in points],
        y=[y for _, y in points],
        mode="lines+markers",
        name=f"best, trial {row['trial_number']}",
        line={"color": style.BEST, "width": 3},
        marker={"size": 6},
        hovertemplate=f"trial {row['trial_number']}, best<br>%{{y:.4f}} at %{{x:.0f}} %<extra></extra>",
    )


def _window(curves: Sequence[Sequence[tuple[float, float]]]) -> tuple[float, float, int]:
    """The axis' ends, and how many points lie above: those of trials that diverged would press the rest flat.

    A sound curve is highest at its start, so that the starts say how far up the axis must go.
    """
    losses = [loss for curve in curves for _, loss in curve]
    low, highest = min(losses), max(losses)
    high = float(np.percentile([curve[0][1] for curve in curves], HEADROOM))
    if highest - low < MOST_ROOM * (high - low):
        high = highest
    room = 0.05 * (high - low) or 0.05
    return low - room, high + room, sum(loss > high + room for loss in losses)


def _finding(
    known: Sequence[Mapping[str, Any]],
    drawn: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any] | None,
    above: int,
) -> str:
    states = [row["state"] for row in known]
    told = ", ".join(f"{states.count(state):,} {state}" for state in reversed(ORDER) if state in states)
    words = [f"{counted(len(known), 'learning curve')}: {told}."]
    if best is not None and best["value"] is not None:
        words.append(f"The lowest loss is {best['value']:.3f}, of trial {best['trial_number']}.")
    if len(drawn) < len(known):
        words.append(f"{len(drawn)} of them are drawn, evenly from the best to the worst.")
    if above:
        words.append(f"{counted(above, 'point')} of high loss lie{'s' if above == 1 else ''} above the axis.")
    return " ".join(words)
