"""The plots of a report as PNG pictures, by matplotlib: plotly needs a browser for that.

Draws what is in the plotly figures themselves, as far as ours use: scatters with error bars, and heat maps.
"""

import html
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sweep import style
from sweep.figures.heat_map import INK_ON_DARK, INK_ON_LIGHT, MIDDLE
from sweep.figures.plot import Plot
from sweep.plots import DPI, WIDTH, drawing, frame, text_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DASHES: Final = {"solid": "-", "dot": ":", "dash": "--", "dashdot": "-."}
MARKS: Final = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "triangle-left": "<",
    "triangle-right": ">",
    "pentagon": "p",
    "x": "x",
    "star": "*",
    "line-ns": "|",
}
HEAD: Final = 46  # pixels of a title


def write_pictures(plots: Sequence[Plot], folder: Path) -> list[Path]:
    """Draws each plot into a file of its key's name; the files.

    Raises:
        OSError: A file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return [write_picture(plot, folder / f"{plot.key}.png") for plot in plots]


def write_picture(plot: Plot, path: Path) -> Path:
    """Draws one plot; an older picture is replaced in one step."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with drawing:
        height = plot.height + HEAD
        figure = Figure(figsize=(WIDTH / DPI, height / DPI), dpi=DPI, facecolor=style.PAPER)
        canvas = FigureCanvasAgg(figure)
        text_line(figure, 0.02, 1 - 10 / height, plot.title, 13, style.INK, weight="bold")
        axes = figure.add_axes((0.1, 60 / height, 0.87, 1 - (HEAD + 90) / height))
        plain = plot.figure.to_dict()
        layout = plain["layout"]
        for trace in plain["data"]:
            if trace["type"] == "heatmap":
                _heat_map(figure, axes, trace)
            elif trace["mode"] != "text":  # a heat map's, which has its words too
                _scatter(axes, trace)
        _axes(axes, layout, heat=plain["data"][0]["type"] == "heatmap")
        draft = path.with_name(f".{path.name}.draft")
        with draft.open("wb") as file:
            canvas.print_png(file)
        os.replace(draft, path)
    return path


def _axes(axes: "Axes", layout: Mapping[str, Any], *, heat: bool) -> None:
    for name, setter in (("xaxis", axes.set_xlabel), ("yaxis", axes.set_ylabel)):
        setter(_text((layout.get(name, {}).get("title") or {}).get("text") or ""), color=style.INK)
    if layout["xaxis"].get("type") == "log":
        axes.set_xscale("log")
    if heat:
        axes.tick_params(colors=style.FAINT, labelsize=9, length=0)
        return
    for name, limit in (("xaxis", axes.set_xlim), ("yaxis", axes.set_ylim)):
        ends = layout.get(name, {}).get("range")
        if ends:
            limit(*ends)
    order = layout.get("yaxis", {}).get("categoryarray")
    if layout["xaxis"].get("type") != "log":
        frame(axes)
    else:
        axes.grid(color=style.GRID, linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=style.FAINT, labelsize=9)
    if order:
        axes.axvline(0, color=style.INTERRUPTED, linewidth=1, linestyle=":")
        axes.margins(y=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=4, frameon=False, fontsize=9)


def _scatter(axes: "Axes", trace: Mapping[str, Any]) -> None:
    mode, line, marker = trace.get("mode", "lines"), trace.get("line") or {}, trace.get("marker") or {}
    xs, ys = [_place(x) for x in trace["x"]], [_place(y) for y in trace["y"]]
    colour = line.get("color") or marker.get("color")
    name = _text(trace.get("name") or "")
    if "lines" in mode:
        axes.plot(
            xs,
            ys,
            color=colour,
            linewidth=line.get("width", 1.5),
            linestyle=DASHES[line.get("dash") or "solid"],
            drawstyle="steps-post" if line.get("shape") == "hv" else "default",
            alpha=trace.get("opacity") or 1.0,
            label=name,
        )
        name = "_"
    error = trace.get("error_x")
    if error:
        arms = [error["arrayminus"], error["array"]]
        axes.errorbar(xs, ys, xerr=arms, fmt="none", ecolor=colour, capsize=4, linewidth=2)
    if "markers" in mode:
        symbols = marker.get("symbol") or "circle"
        groups = [symbols] if isinstance(symbols, str) else sorted(set(symbols))
        for symbol in groups:
            kept = [place for place in range(len(xs)) if isinstance(symbols, str) or symbols[place] == symbol]
            bare = symbol.removesuffix("-open")
            axes.plot(
                [xs[place] for place in kept],
                [ys[place] for place in kept],
                marker=MARKS[bare],
                linestyle="none",
                color=colour,
                markersize=marker.get("size", 7) * 0.85,
                markerfacecolor="none" if bare != symbol else colour,
                label=name,
            )
            name = "_"


def _heat_map(figure: Any, axes: "Axes", trace: Mapping[str, Any]) -> None:
    values = [[math.nan if value is None else value for value in row] for row in trace["z"]]
    colours = f"{style.SCALE.lower()}_r"
    image = axes.imshow(values, origin="lower", aspect="auto", cmap=colours)
    axes.set_xticks(range(len(trace["x"])), [_text(x) for x in trace["x"]])
    axes.set_yticks(range(len(trace["y"])), [_text(y) for y in trace["y"]])
    axes.spines[:].set_visible(False)
    known = [value for row in values for value in row if math.isfinite(value)]
    low, span = min(known), max(known) - min(known) or 1.0
    for y, row in enumerate(trace["text"]):
        for x, words in enumerate(row):
            shade = (values[y][x] - low) / span if words else 0.0
            ink = INK_ON_DARK if shade > MIDDLE else INK_ON_LIGHT
            axes.text(x, y, words.replace("<br>", "\n"), ha="center", va="center", color=ink, fontsize=9)
    figure.colorbar(image, ax=axes, label="loss", pad=0.02).outline.set_visible(False)


def _place(value: Any) -> Any:
    return math.nan if value is None else _text(value) if isinstance(value, str) else value


def _text(words: str) -> str:
    """Plotly's text as matplotlib takes it: without its escapes, and with no sign read as a formula."""
    return html.unescape(str(words)).replace("$", r"\$")
