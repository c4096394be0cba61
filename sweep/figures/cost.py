"""What a low loss costs: trainable parameters, peak memory and time, with the trials that nothing beats at both."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from sweep import style
from sweep.figures.plot import LOSS, Plot, counted, new_figure
from sweep.trial_files import clock
from trials.curve import LearningCurve

MEBI: Final = 1 << 20


class _Point(NamedTuple):
    """A complete trial: its number, its cost and its loss."""

    number: int
    cost: float
    loss: float


def cost_against_loss(
    rows: Sequence[Mapping[str, Any]],
    curves: Mapping[int, LearningCurve],
    machines: Mapping[int, str | None],
) -> list[Plot]:
    """A plot a cost, each with its Pareto front. Memory and time are those of one kind of machine only.

    Args:
        rows: Rows of `sweep_trials`.
        curves: Each trial's curve, by its number.
        machines: The machine that each trial ran on (`Results.machines`).

    Returns:
        Those costs that are known of two trials at least and are not the same for all.
    """
    complete = [row for row in rows if row["state"] == "complete" and row["value"] is not None]
    sizes = [
        _Point(row["trial_number"], float(row["trainable_parameters"]), float(row["value"]))
        for row in complete
        if row["trainable_parameters"]
    ]
    alike, machine = _of_one_machine(complete, machines)
    ran = [(row, curves[row["trial_number"]].reports[-1]) for row in alike if _has_reports(row, curves)]
    memory = [_Point(row["trial_number"], last.peak_memory_bytes / MEBI, float(row["value"])) for row, last in ran]
    times = [_Point(row["trial_number"], last.seconds, float(row["value"])) for row, last in ran]
    left = len(complete) - len(ran)
    where = f" on {machine}" if machine else ""
    others = f" {counted(left, 'trial')} of other machines {'is' if left == 1 else 'are'} left out." if left else ""
    plots = [
        _plot("cost-parameters", "Loss and trainable parameters", "trainable parameters", sizes, _large, ""),
        _plot("cost-memory", f"Loss and peak memory{where}", "peak memory, MiB", memory, _mebibytes, others),
        _plot("cost-time", f"Loss and time{where}", "time of the trial, seconds", times, _seconds, others),
    ]
    return [plot for plot in plots if plot is not None]


def front(points: Sequence[_Point]) -> list[_Point]:
    """The points that no other one beats at cost and loss, from the cheapest up."""
    found: list[_Point] = []
    for point in sorted(points, key=lambda point: (point.cost, point.loss, point.number)):
        if not found or point.loss < found[-1].loss:
            found.append(point)
    return found


def _has_reports(row: Mapping[str, Any], curves: Mapping[int, LearningCurve]) -> bool:
    curve = curves.get(row["trial_number"])
    return curve is not None and bool(curve.reports)


def _of_one_machine(
    rows: Sequence[Mapping[str, Any]], machines: Mapping[int, str | None]
) -> tuple[list[Mapping[str, Any]], str]:
    """The trials of the machine that ran most, and its name; one that moved is of none, as in confirmations."""
    placed = [(row, machines.get(row["trial_number"], "")) for row in rows]
    count = Counter(machine for _, machine in placed if machine is not None)
    if not count:
        return [], ""
    most = max(sorted(count), key=lambda machine: count[machine])
    return [row for row, machine in placed if machine == most], most


def _plot(key: str, title: str, axis: str, points: Sequence[_Point], words: Any, others: str) -> Plot | None:
    if len({point.cost for point in points}) < 2:
        return None
    best = front(points)
    figure = new_figure(axis, LOSS)
    figure.add_scatter(
        x=[float(f"{point.cost:.6g}") for point in points],
        y=[round(point.loss, 4) for point in points],
        customdata=[point.number for point in points],
        mode="markers",
        name=f"complete ({len(points):,})",
        marker={"color": style.COMPLETE, "size": 7, "opacity": 0.7},
        hovertemplate="trial %{customdata}<br>%{y:.4f}, %{x:,}<extra></extra>",
    )
    figure.add_scatter(
        x=[float(f"{point.cost:.6g}") for point in best],
        y=[round(point.loss, 4) for point in best],
        customdata=[point.number for point in best],
        mode="lines+markers",
        line={"shape": "hv", "color": style.BEST, "width": 2},
        marker={"symbol": "star", "size": 12, "color": style.BEST},
        name="nothing is both cheaper and better",
        hovertemplate="trial %{customdata}<br>%{y:.4f}, %{x:,}<extra></extra>",
    )
    cheap, low = best[0], best[-1]
    if cheap is low:
        told = f"Trial {low.number} is both the cheapest and the best: {words(low.cost)}, loss {low.loss:.3f}."
    else:
        told = (
            f"The best, trial {low.number}, takes {words(low.cost)} for a loss of {low.loss:.3f}; the cheapest, trial "
            f"{cheap.number}, {words(cheap.cost)} for {cheap.loss:.3f}. {counted(len(best), 'trial')} of "
            f"{len(points):,} are beaten by none at both."
        )
    return Plot(key, title, told + others, figure)


def _large(parameters: float) -> str:
    return f"{parameters:,.0f} trainable parameters"


def _mebibytes(mebibytes: float) -> str:
    return f"{mebibytes:,.0f} MiB"


def _seconds(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else clock(seconds)
