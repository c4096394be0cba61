"""The edges of ranges: whether a study's best trials lie on one, and what a wider range would be."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.numbers import number

# A best value within this factor of a range's end counts as lying on its edge: learning rates nearer than that
# are hardly told apart in a short trial.
EDGE_FACTOR = 1.5
# The same for a range that is not logarithmic: this share of its width.
EDGE_SHARE = 0.1
# By how much a range is widened beyond the edge that its best value lies on.
WIDEN_FACTOR = 10.0
# A range is crowded when so many of so many best trials lie on its edge. By chance alone, three of four lie in one
# given third of a range once in nine times; two of three, once in four. The best one need not be among them: in a
# narrow range it may owe more to its other knobs.
CROWD = 3
AMONG = 4
# There an edge is this share of a range at most: of one that spans a factor of two, nearly all would be edge.
MOST_SHARE = 1 / 3


@dataclass(frozen=True)
class Crowd:
    """Where the best trials lie when they crowd an edge.

    Attributes:
        edge: "upper" or "lower".
        places: Which of the best trials lie on it, from 0 for the best.
    """

    edge: str
    places: tuple[int, ...]


def crowded(best: Sequence[float], low: float, high: float, log: bool) -> Crowd | None:
    """Which end of its range the best trials' values crowd; None when they do not, or are too few to tell.

    Args:
        best: A knob's values in the best `AMONG` trials, the best one's first.
        low: The range's lower end.
        high: Its upper end, above the lower.
        log: Whether it is searched by its logarithm.
    """
    if len(best) < AMONG:
        return None
    places = [math.log(value) for value in best] if log else list(best)
    start, end = (math.log(low), math.log(high)) if log else (low, high)
    margin = min(_margin(start, end, log), MOST_SHARE * (end - start))
    for edge, gaps in (("lower", [place - start for place in places]), ("upper", [end - place for place in places])):
        near = tuple(place for place, gap in enumerate(gaps) if gap <= margin)
        if len(near) >= CROWD:
            return Crowd(edge, near)
    return None


def edges(best_first: Sequence[Mapping[str, Any]], space: Mapping[str, Any]) -> list[tuple[str, float, str, str]]:
    """The continuous ranges on whose edge the best trial lies.

    Args:
        best_first: Trials with a value, ranked; at least one.
        space: The study's space as plain data.

    Returns:
        For each its knob, the best value, "upper" or "lower", and the assignment that widens it; that is empty where
        the range reaches its limit.
    """
    found = []
    for knob, spec in space["search"].items():
        bounds = spec.get("float")
        if bounds is None or bounds[0] == bounds[1]:
            continue
        low, high = (float(bound) for bound in bounds)
        given = [row["params"].get(knob) for row in best_first]
        # Where its `when` does not hold, a knob is absent, or its `else`, which is any value.
        drawn = [isinstance(value, int | float) and low <= value <= high for value in given]
        if not drawn[0]:
            continue
        values = [float(value) for value, searched in zip(given, drawn, strict=True) if searched]
        edge = _edge(values, low, high, bool(spec.get("log")))
        if edge is not None:
            hard = [float(limit) for limit in spec.get("limits") or (-math.inf, math.inf)]
            wider = _widened(low, high, edge, bool(spec.get("log")), hard)
            assignment = f"{knob}={number(wider[0])}..{number(wider[1])}" if wider != (low, high) else ""
            found.append((knob, values[0], edge, assignment))
    return found


def _edge(values: Sequence[float], low: float, high: float, log: bool) -> str | None:
    """Which end of its range the best value lies on; None when it lies inside.

    Args:
        values: The knob's values, the best trial's first.
        low: The range's lower end.
        high: Its upper end.
        log: Whether it is searched by its logarithm.
    """
    places = [math.log(value) for value in values] if log else list(values)
    start, end = (math.log(low), math.log(high)) if log else (low, high)
    margin = _margin(start, end, log)
    below, above = places[0] - start, end - places[0]
    if min(below, above) > margin:
        return None
    if max(below, above) > margin or len(places) < 2:
        return "lower" if below < above else "upper"
    # A range so narrow that both its ends are near: it is on the side that better trials lean to.
    half = len(places) // 2
    return "upper" if sum(places[:half]) / half > sum(places[-half:]) / half else "lower"


def _widened(low: float, high: float, edge: str, log: bool, limits: Sequence[float]) -> tuple[float, float]:
    if log:
        wider = (low / WIDEN_FACTOR, high) if edge == "lower" else (low, high * WIDEN_FACTOR)
    else:
        wider = (low - (high - low), high) if edge == "lower" else (low, high + (high - low))
    return max(wider[0], limits[0]), min(wider[1], limits[1])


def _margin(start: float, end: float, log: bool) -> float:
    """How near to an end of a range, of logarithms where `log` is set, its edge begins."""
    return math.log(EDGE_FACTOR) if log else EDGE_SHARE * (end - start)
