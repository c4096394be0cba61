"""The levels of a knob against one of them, with their intervals."""

import math
from typing import Final

from sweep import style
from sweep.comparison import ALIKE, BETTER, REFERENCE, UNDECIDED, WORSE, Comparison, Level
from sweep.figures.plot import Plot, literal, new_figure, readable

# What each verdict looks like: by its colour, and by its mark.
LOOKS: Final = {
    BETTER: (style.COMPLETE, "triangle-left"),
    WORSE: (style.FAILED, "triangle-right"),
    ALIKE: (style.TRAINING, "circle"),
    UNDECIDED: (style.INTERRUPTED, "circle-open"),
}


def comparison_plot(comparison: Comparison) -> Plot | None:
    """Each level's difference in loss to the reference, with its 95 % interval.

    Args:
        comparison: Of the levels of one knob.

    Returns:
        None where no level has a difference.
    """
    told = [level for level in comparison.levels if level.effect is not None]
    if not told:
        return None
    what = readable(comparison.by)
    reference = literal(comparison.reference)
    figure = new_figure(f"difference in loss to {reference}, nats per token", "")
    for verdict, (colour, symbol) in LOOKS.items():
        levels = [level for level in told if level.verdict == verdict]
        if levels:
            _add(figure, levels, verdict, colour, symbol)
    figure.add_scatter(
        x=[0],
        y=[reference],
        mode="markers",
        name=REFERENCE,
        marker={"color": style.INTERRUPTED, "symbol": "line-ns-open", "size": 14, "line": {"width": 3}},
        hovertemplate=f"{REFERENCE}<extra></extra>",
    )
    order = [literal(level.label) for level in comparison.levels if level in told or level.verdict == REFERENCE]
    figure.add_vline(x=0, line={"color": style.INTERRUPTED, "width": 1, "dash": "dot"})
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=order[::-1], showgrid=False)
    figure.update_layout(hovermode="closest")
    finding = _finding(comparison, what)
    key = f"compare-{comparison.by.replace('_', '-')}"
    return Plot(key, f"{what[0].upper()}{what[1:]} compared", finding, figure, 170 + 44 * len(order))


def _add(figure: object, levels: list[Level], verdict: str, colour: str, symbol: str) -> None:
    effects = [level.effect for level in levels if level.effect is not None]
    figure.add_scatter(  # type: ignore[attr-defined]
        x=[round(effect.difference, 5) for effect in effects],
        y=[literal(level.label) for level in levels],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [_reach(effect.high - effect.difference) for effect in effects],
            "arrayminus": [_reach(effect.difference - effect.low) for effect in effects],
            "color": colour,
            "thickness": 2,
            "width": 6,
        },
        customdata=[f"[{_end(effect.low)}, {_end(effect.high)}]" for effect in effects],
        mode="markers",
        name=verdict,
        marker={"color": colour, "symbol": symbol, "size": 12},
        hovertemplate="%{y}: %{x:+.4f} %{customdata}<extra>%{fullData.name}</extra>",
    )


def _reach(distance: float) -> float:
    """An interval's arm; an open end has none."""
    return round(distance, 5) if math.isfinite(distance) else 0.0


def _end(value: float) -> str:
    return f"{value:+.4f}" if math.isfinite(value) else "open"


def _finding(comparison: Comparison, what: str) -> str:
    told = []
    for level in comparison.levels:
        effect = level.effect
        if effect is None:
            continue
        told.append(
            f"{level.label} {effect.difference:+.4f} [{_end(effect.low)}, {_end(effect.high)}], {level.verdict}"
        )
    return f"By {what}, against {comparison.reference}; below zero is better. {'; '.join(told)}."
