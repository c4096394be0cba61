"""The picture of one trial's learning curve, drawn without a screen, from any thread.

matplotlib is imported inside the functions: a command that draws nothing does not wait for it. Its object API
is used, since pyplot's global figures are not for threads; one lock lets one picture be drawn at a time.
"""

import os
from collections.abc import Sequence
from math import isfinite, nan
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sweep import style
from sweep.progress import format_learning_rate, one_line
from trials.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

WIDTH: Final = 900  # pixels
HEIGHT: Final = 500
DPI: Final = 100
LEFT: Final = 0.095  # of the picture's width
RIGHT: Final = 0.975
SMOOTHED_FROM: Final = 9  # points; fewer are as clear by themselves
# A loss this many times the first one would press the rest of the curve flat: it is marked at the top edge.
OFF_SCALE: Final = 3.0

drawing = Lock()


class TrainingPoint(NamedTuple):
    """One optimizer step: its number, its loss in nats per token, and the rate that it used."""

    step: int
    loss: float
    learning_rate: float


def curve_picture(
    path: Path,
    reports: Sequence[Report],
    *,
    title: str,
    training: Sequence[TrainingPoint] = (),
    subtitle: str = "",
    prune_reason: str = "",
) -> None:
    """Draw training loss, evaluation loss and learning rate over the steps of one trial, as a PNG.

    The x axis spans the trial's whole horizon: pictures of one study compare by eye, and a pruned trial shows
    what it was spared. No reports give a picture that says so. Safe to call from several threads.

    Args:
        path: The file to write; its folder is made, and an older file is replaced in one step.
        reports: The trial's reports, oldest first.
        title: The picture's first line, shown literally and cut to fit.
        training: The trial's steps, oldest first; without them the reports' means stand for them.
        subtitle: A smaller line under it.
        prune_reason: Why the trial was pruned, shown as a caption; empty for a trial that was not.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with drawing:
        figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        _words(figure, title, subtitle, f"Pruned: {prune_reason}" if prune_reason else "")
        if reports:
            _panels(figure, reports, training or _means(reports), pruned=bool(prune_reason))
        else:
            text_line(figure, 0.5, 0.5, "no evaluations yet: nothing to draw", 12, style.FAINT, center=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        with draft.open("wb") as file:
            # Level 1 takes a tenth of the time of the default 6, and the picture stays below 80 KB.
            canvas.print_png(file, pil_kwargs={"compress_level": 1})
        os.replace(draft, path)


def smoothed(values: Sequence[float], half: int) -> list[float]:
    """A centred rolling mean: the mean of the finite values at most `half` places away.

    Centred, so that the line does not lag behind its points as an exponential mean does. Near the ends the
    window shrinks on both sides alike, so that the line begins and ends at the curve's own ends instead of
    being pulled towards its middle. A value that is not finite stays a gap.

    Args:
        values: The curve, oldest first.
        half: Places on each side, from 0.

    Returns:
        As many values, NaN where the curve is not finite.
    """
    means: list[float] = []
    for index, value in enumerate(values):
        reach = min(half, index, len(values) - 1 - index)
        window = [near for near in values[index - reach : index + reach + 1] if isfinite(near)]
        means.append(sum(near / len(window) for near in window) if isfinite(value) else nan)
    return means


def _means(reports: Sequence[Report]) -> list[TrainingPoint]:
    return [TrainingPoint(report.step, report.train_loss, report.learning_rate) for report in reports]


def _panels(figure: "Figure", reports: Sequence[Report], training: Sequence[TrainingPoint], pruned: bool) -> None:
    """Draw the losses above and the learning rate below, over the same steps."""
    bottom = 0.17 if pruned else 0.12  # the caption's room
    losses = figure.add_axes((LEFT, bottom + 0.19, RIGHT - LEFT, 0.63 - bottom))
    rates = figure.add_axes((LEFT, bottom, RIGHT - LEFT, 0.13), sharex=losses)
    steps = [report.step for report in reports]
    evaluation = [report.eval_loss for report in reports]
    trained = [point.step for point in training]
    train_losses = [point.loss for point in training]
    ceiling = _ceiling(train_losses, evaluation)
    _series(losses, trained, _kept(train_losses, ceiling), style.TRAINING, "o", "training")
    _series(losses, steps, _kept(evaluation, ceiling), style.EVALUATION, "s", "evaluation")
    _best(losses, steps, _kept(evaluation, ceiling))
    _lost(losses, [(trained, train_losses, style.TRAINING), (steps, evaluation, style.EVALUATION)], ceiling)
    end = max(reports[-1].total_steps, steps[-1], 1)
    if pruned and steps[-1] < end:
        losses.axvspan(steps[-1], end, color=style.PRUNED, alpha=0.13, linewidth=0, label="not run")
    losses.set_xlim(0, end * 1.01)
    losses.set_ylabel("loss, nats per token", color=style.INK)
    losses.tick_params(labelbottom=False)
    losses.locator_params(axis="y", nbins=6)
    _rates(rates, trained, [point.learning_rate for point in training])
    for axes in (losses, rates):
        axes.yaxis.set_label_coords(-0.058, 0.5)
        frame(axes)
    # Above the axes, in a row of its own: inside, it would hide some curve sooner or later.
    losses.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=6, frameon=False, fontsize=9, columnspacing=1.4)


def _ceiling(*curves: Sequence[float]) -> float:
    """The highest loss that is drawn in its place."""
    firsts = [next((value for value in curve if isfinite(value)), 0.0) for curve in curves]
    return OFF_SCALE * max(firsts) if max(firsts) > 0 else float("inf")


def _kept(values: Sequence[float], ceiling: float) -> list[float]:
    """The curve with gaps where it diverged."""
    return [value if isfinite(value) and value <= ceiling else nan for value in values]


def _series(axes: "Axes", steps: Sequence[int], values: Sequence[float], colour: str, mark: str, name: str) -> None:
    """Draw one loss: its points, and a line along them or, when they are many, through them."""
    many = len(values) >= SMOOTHED_FROM
    line = smoothed(values, max(len(values) // 12, 1)) if many else values
    # Faint points let the smoothed line speak; the legend shows the line with its mark.
    axes.plot(steps, values, mark, color=colour, markersize=4, alpha=0.4 if many else 1.0, linewidth=0)
    axes.plot(steps, line, color=colour, linewidth=1.8)
    label = f"{name}, smoothed" if many else name
    axes.plot([], [], marker=mark, color=colour, markersize=4, linewidth=1.8, label=label)


def _lost(axes: "Axes", curves: Sequence[tuple[Sequence[int], Sequence[float], str]], ceiling: float) -> None:
    """Mark the steps of diverged losses at the top edge, in a row for each curve, by its colour."""
    label = "diverged"
    for height, (steps, values, colour) in zip((0.95, 0.87), curves, strict=True):
        lost = [step for step, value in zip(steps, _kept(values, ceiling), strict=True) if not isfinite(value)]
        if not lost:
            continue
        # Heights are of the axes, steps are the data's.
        marks = axes.plot(lost, [height] * len(lost), "x", transform=axes.get_xaxis_transform(), label=label)
        marks[0].set(color=colour, markersize=7, markeredgewidth=2)
        label = ""  # the legend says it once
    if not label:
        low, high = axes.get_ylim()
        axes.set_ylim(low, high + 0.25 * (high - low))  # the marks' room


def _best(axes: "Axes", steps: Sequence[int], losses: Sequence[float]) -> None:
    """Mark the lowest evaluation loss: the trial's value."""
    finite = [(loss, step) for loss, step in zip(losses, steps, strict=True) if isfinite(loss)]
    if not finite:
        return
    loss, step = min(finite)
    star = axes.plot([step], [loss], "*", color=style.BEST, label=f"best {loss:.3f} at step {step}")
    star[0].set(markeredgecolor=style.INK, markersize=13, zorder=5)


def _rates(axes: "Axes", steps: Sequence[int], rates: Sequence[float]) -> None:
    finite = [rate if isfinite(rate) else nan for rate in rates]
    highest = max((rate for rate in finite if isfinite(rate)), default=0.0)
    axes.plot(steps, finite, color=style.LEARNING_RATE, marker=".", markersize=4, linewidth=1.5)
    axes.set_ylim(0, highest * 1.15 or 1.0)
    # Two ticks, in the words of the tables: matplotlib's own would put a factor in a corner.
    ticks = [0.0, highest] if highest > 0 else [0.0]
    axes.set_yticks(ticks, ["0", format_learning_rate(highest)][: len(ticks)])
    axes.set_ylabel("learning\nrate", color=style.LEARNING_RATE, fontsize=9)
    axes.set_xlabel("optimizer step", color=style.INK)


def frame(axes: "Axes") -> None:
    """Leave of the frame what carries a scale."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(style.FAINT)
    axes.tick_params(colors=style.FAINT, labelsize=9)
    axes.grid(color=style.GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    # Ticks are half of a picture's time: no more than are read. (A matplotlib default is up to twelve.)
    axes.locator_params(axis="x", nbins=6)


def _words(figure: "Figure", title: str, subtitle: str, caption: str) -> None:
    text_line(figure, 0.02, 0.975, title, 13, style.INK, weight="bold")
    text_line(figure, 0.02, 0.915, subtitle, 9.5, style.FAINT)
    text_line(figure, 0.02, 0.055, caption, 9.5, style.INK)


def text_line(
    figure: "Figure",
    x: float,
    y: float,
    words: str,
    size: float,
    colour: str,
    *,
    center: bool = False,
    **more: Any,
) -> None:
    """Write one line, cut to the picture's width, with no sign in it read as a formula."""
    words = one_line(words)
    if not words:
        return
    text: Text = figure.text(
        x,
        y,
        words,
        size=size,
        color=colour,
        va="top",
        ha="center" if center else "left",
        parse_math=False,
        **more,
    )
    room = WIDTH * 0.96
    while (width := text.get_window_extent().width) > room and len(words) > 1:
        words = words[: min(int(len(words) * room / width), len(words) - 1)]
        text.set_text(words.rstrip() + "…")
