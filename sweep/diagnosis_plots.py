"""The picture of a logged curve with its findings marked, beside the log that it was read from.

A picture says in its own data which program drew it from which log: a file that another program wrote, or that shows
another log, is never overwritten.
"""

import itertools
import os
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from sweep import style
from sweep.plots import DPI, HEIGHT, LEFT, RIGHT, WIDTH, drawing, frame, smoothed, text_line
from sweep.progress import format_learning_rate, one_line
from trials.finding import Diagnosis
from trials.logged import LoggedCurve
from trials.shape import means

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MADE_BY: Final = "LoRA Sweep diagnose"
MOST_POINTS: Final = 2000  # of a series; more than the picture has columns are averaged
MOST_NAMED: Final = 30  # characters of an evaluation set's name
HEADROOM: Final = 99.0  # percentile of the losses that is surely shown
MARKS: Final = {
    "divergence": style.FAILED,
    "oscillation": style.PRUNED,
    "over-fitting": style.BEST,
    "under-fitting": style.RUNNING,
    "stagnation": style.INTERRUPTED,
}
# Evaluation sets of one picture are told apart by their marks, in the order of the log.
SETS: Final = "s^Dvo"


def place(log: Path, run: int, runs: int, folder: Path | None) -> Path:
    """Where a log's picture goes: its name beside it or in `folder`, numbered until no other picture is in the way."""
    name = log.stem if runs == 1 else f"{log.stem}-run{run}"
    made = source(log, run)
    number = 1
    while True:
        path = (folder or log.parent) / f"{name}{'' if number == 1 else f'-{number}'}.png"
        if not os.path.lexists(path) or _drawn_from(path) == made:
            return path
        number += 1


def source(log: Path, run: int) -> str:
    """What a picture says it was drawn from."""
    place = str(log.resolve()).encode(errors="backslashreplace").decode()  # a path need not be text
    return f"{place} run {run}"


def diagnosis_picture(path: Path, curve: LoggedCurve, diagnosis: Diagnosis, title: str, made_from: str) -> None:
    """Draws losses, evaluations and learning rate over the steps, with each finding shaded from where it starts.

    Args:
        path: The file to write; its folder is made, and an older file is replaced in one step.
        curve: What was logged.
        diagnosis: What was found.
        title: The picture's first line.
        made_from: As `source` gives it.

    Raises:
        OSError: The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with drawing:
        figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
        canvas = FigureCanvasAgg(figure)
        text_line(figure, 0.02, 0.975, title, 13, style.INK, weight="bold")
        for row, finding in enumerate(diagnosis.findings[:2]):
            text_line(figure, 0.02, 0.925 - 0.04 * row, f"{finding.kind}: {finding.evidence}", 9.5, style.FAINT)
        rated = curve.peak_learning_rate is not None
        bottom = 0.31 if rated else 0.12
        losses = figure.add_axes((LEFT, bottom, RIGHT - LEFT, 0.78 - bottom))
        _losses(losses, curve, diagnosis)
        if rated:
            losses.tick_params(labelbottom=False)
            _rates(figure.add_axes((LEFT, 0.12, RIGHT - LEFT, 0.13), sharex=losses), curve)
        else:
            losses.set_xlabel("optimizer step", color=style.INK)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        try:
            with draft.open("wb") as file:
                canvas.print_png(file, metadata={"Software": MADE_BY, "Source": made_from})
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)


def _drawn_from(path: Path) -> str | None:
    """Which log a picture of this program shows; None for any other file."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            said = dict(picture.info)
    except (OSError, SyntaxError, ValueError):
        return None
    return str(said.get("Source")) if said.get("Software") == MADE_BY else None


def _losses(axes: "Axes", curve: LoggedCurve, diagnosis: Diagnosis) -> None:
    last = max(curve.last_step, 1)
    steps, values = _thinned([point.step for point in curve.training], [point.loss for point in curve.training])
    if values:
        axes.plot(steps, values, ".", color=style.TRAINING, markersize=4, alpha=0.35, linewidth=0)
        axes.plot(steps, smoothed(values, len(values) // 25), color=style.TRAINING, linewidth=1.8, label="training")
    for (name, points), mark in zip(curve.evaluations.items(), itertools.cycle(SETS), strict=False):
        # $ would begin a formula.
        label = f"evaluation {one_line(name)[:MOST_NAMED]}".strip().replace("$", r"\$")
        at, losses = [point.step for point in points], [point.loss for point in points]
        axes.plot(at, losses, marker=mark, color=style.EVALUATION, markersize=4, linewidth=1.6, label=label)
    for finding in diagnosis.findings:
        if finding.kind in MARKS:
            start = 0 if finding.start is None else finding.start
            axes.axvspan(start, last, color=MARKS[finding.kind], alpha=0.15, linewidth=0)
            axes.axvline(start, color=MARKS[finding.kind], linewidth=1.4, label=f"{finding.kind} from step {start}")
    _limit(axes, curve)
    axes.set_xlim(0, last * 1.01)
    axes.set_ylabel("loss", color=style.INK)
    axes.yaxis.set_label_coords(-0.058, 0.5)
    frame(axes)
    if axes.get_legend_handles_labels()[0]:
        corner = (-0.01, 1.0)
        axes.legend(loc="lower left", bbox_to_anchor=corner, ncols=4, frameon=False, fontsize=9, columnspacing=1.4)


def _limit(axes: "Axes", curve: LoggedCurve) -> None:
    """Cuts lone points off that would press the rest flat; what the smoothed line does is shown whole."""
    _, training = _thinned([point.step for point in curve.training], [point.loss for point in curve.training])
    line = smoothed(training, len(training) // 25)
    evaluations = [point.loss for points in curve.evaluations.values() for point in points if isfinite(point.loss)]
    if not line and not evaluations:
        return
    usual = np.percentile(training, [100 - HEADROOM, HEADROOM]).tolist() if training else []
    low, high = min([*line, *evaluations, *usual]), max([*line, *evaluations, *usual])
    room = 0.08 * (high - low) or 0.1
    axes.set_ylim(low - room, high + room)


def _rates(axes: "Axes", curve: LoggedCurve) -> None:
    points = [(point.step, point.learning_rate) for point in curve.training if point.learning_rate is not None]
    highest = curve.peak_learning_rate or 0.0
    axes.plot([step for step, _ in points], [rate for _, rate in points], color=style.LEARNING_RATE, linewidth=1.5)
    axes.set_ylim(0, highest * 1.15 or 1.0)
    axes.set_yticks([0.0, highest], ["0", format_learning_rate(highest)])
    axes.set_ylabel("learning\nrate", color=style.LEARNING_RATE, fontsize=9)
    axes.set_xlabel("optimizer step", color=style.INK)
    axes.yaxis.set_label_coords(-0.058, 0.5)
    frame(axes)


def _thinned(steps: Sequence[int], losses: Sequence[float]) -> tuple[list[float], list[float]]:
    """The finite points, averaged down to `MOST_POINTS`."""
    kept = [(step, loss) for step, loss in zip(steps, losses, strict=True) if isfinite(loss)]
    columns = np.array(kept, dtype=float).reshape(-1, 2)
    return means(columns[:, 0], MOST_POINTS).tolist(), means(columns[:, 1], MOST_POINTS).tolist()
