"""What all plots look like, by day, by night, and on a page whose paper is not known."""

from typing import Final

import plotly.graph_objects as go

from sweep import style

FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"


def _template(ink: str, faint: str, grid: str, paper: str) -> go.layout.Template:
    axis = {
        "color": faint,
        "gridcolor": grid,
        "linecolor": faint,
        "showline": True,
        "ticks": "outside",
        "tickcolor": faint,
        "zeroline": False,
        "automargin": True,
        "title": {"standoff": 10, "font": {"color": ink}},
    }
    return go.layout.Template(
        layout={
            "font": {"family": FONT, "size": 13, "color": ink},
            "paper_bgcolor": paper,
            "plot_bgcolor": paper,
            "colorway": list(style.LEVELS),
            "xaxis": axis,
            "yaxis": axis,
            "margin": {"l": 10, "r": 16, "t": 16, "b": 10},
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
            "hoverlabel": {"align": "left"},
        }
    )


LIGHT: Final = _template(style.INK, style.FAINT, style.GRID, style.PAPER)
DARK: Final = _template(style.NIGHT_INK, style.NIGHT_FAINT, style.NIGHT_GRID, style.NIGHT_PAPER)
ANY: Final = _template(style.ANY_INK, style.ANY_INK, style.ANY_GRID, "rgba(0,0,0,0)")
