"""What `make bench` says of its runs: one run out of what a contestant said, and a table of medians."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

FLOOR = "floor"
COLUMNS = (
    "",
    "wall s",
    "× floor",
    "CPU s",
    "× floor",
    "first step s",
    "then, to the last evaluation s",
    "× floor",
    "gap s",
    "trials",
    "rows",
    "best loss",
)


@dataclass(frozen=True)
class Measured:
    """One contestant's run.

    Attributes:
        wall: Seconds from its start to its end.
        cpu: CPU seconds of all its processes, user and system.
        first_step: Seconds from its start to the end of its first trial's first step.
        span: Seconds from there to the last evaluation of all.
        gap: Median seconds from a trial's last evaluation to the end of the next one's first step.
        steps: Optimizer steps of all trials, up to their last evaluations.
        losses: The lowest evaluation loss of every trial, by its name; in nats per token.
        coordinator: CPU seconds of the process that leads the others, where that is told.
    """

    wall: float
    cpu: float
    first_step: float
    span: float
    gap: float
    steps: int
    losses: Mapping[str, float]
    coordinator: float | None

    @property
    def best(self) -> float:
        """The lowest evaluation loss of all."""
        return min(self.losses.values())


def digest(events: Sequence[Mapping[str, Any]], began: float, wall: float, cpu: float) -> Measured:
    """A run, out of what a contestant said.

    Args:
        events: As `Work.say` wrote them.
        began: When it was started, in seconds since the epoch.
        wall: Seconds that it took.
        cpu: CPU seconds that the system counts for it; what it counted itself is taken where that is more.

    Raises:
        ValueError: It evaluated nothing.
    """
    begun = sorted(event["time"] for event in events if event["event"] == "begun")
    evaluated = [event for event in events if event["event"] == "evaluated"]
    if not begun or not evaluated:
        raise ValueError("the contestant ended, but took no step or evaluated nothing")
    losses: dict[str, float] = {}
    steps: dict[str, int] = {}
    for event in evaluated:
        name = event["trial"]
        losses[name] = min(losses.get(name, event["loss"]), event["loss"])
        steps[name] = max(steps.get(name, 0), event["step"])
    times = sorted(event["time"] for event in evaluated)
    gaps = [later - max(time for time in times if time < later) for _, later in pairwise(begun)]
    told = [event["cpu"] for event in events if event["event"] == "coordinator"]
    return Measured(
        wall=wall,
        cpu=max([cpu, *(event["cpu"] for event in events if event["event"] == "cpu")]),
        first_step=begun[0] - began,
        span=times[-1] - begun[0],
        gap=statistics.median(gaps) if gaps else 0.0,
        steps=sum(steps.values()),
        losses=losses,
        coordinator=told[0] if told else None,
    )


def table(runs: Mapping[str, Sequence[Measured]], absent: Sequence[str], batch: int) -> list[str]:
    """The medians, in Markdown.

    Args:
        runs: Every contestant's runs; none where all failed. The floor's must be there.
        absent: Contestants that are not installed.
        batch: Rows of a step.
    """
    lines = [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
    for name, measured in runs.items():
        lines.append(_line(_cells(name, measured, runs[FLOOR], batch)))
    blank = [""] * (len(COLUMNS) - 2)
    return [*lines, *(_line([name, "not installed", *blank]) for name in absent)]


def agreement(runs: Mapping[str, Sequence[Measured]]) -> str:
    """How far the trials' best losses are from the floor's, contestant by contestant."""
    floor = runs[FLOOR][-1].losses
    words = []
    for name, measured in runs.items():
        if name == FLOOR or not measured:
            continue
        losses = measured[-1].losses
        furthest = max((abs(losses[trial] - floor[trial]) for trial in losses if trial in floor), default=float("nan"))
        words.append(
            f"{name} {furthest:.4f}" if set(losses) == set(floor) else f"{name} {furthest:.4f} of other trials"
        )
    return f"Best loss of a trial, furthest from the floor's same trial (nats per token): {'; '.join(words)}."


def median(measured: Sequence[Measured], field: str) -> float:
    """The median of a field over runs."""
    return float(statistics.median(getattr(run, field) for run in measured))


def _cells(name: str, measured: Sequence[Measured], floor: Sequence[Measured], batch: int) -> list[str]:
    if not measured:
        return [name, "failed", *[""] * (len(COLUMNS) - 2)]
    wall, cpu, first, span, gap = (median(measured, field) for field in ("wall", "cpu", "first_step", "span", "gap"))
    least, most = min(run.wall for run in measured), max(run.wall for run in measured)
    last = measured[-1]
    return [
        name,
        f"{wall:.1f} ({least:.1f} to {most:.1f})",
        f"{wall / median(floor, 'wall'):.2f}",
        f"{cpu:.1f}",
        f"{cpu / median(floor, 'cpu'):.2f}",
        f"{first:.1f}",
        f"{span:.1f}",
        f"{span / median(floor, 'span'):.2f}",
        f"{gap:.2f}",
        str(len(last.losses)),
        f"{last.steps * batch:,}",
        f"{last.best:.4f}",
    ]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
