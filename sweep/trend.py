"""When a trial can be given up: its curve is heading clearly behind what another one has reached."""

import heapq
import math
from collections.abc import Iterable, Sequence

from sweep.contenders import Contender
from sweep.projection import TIE

# Standard deviations by which a trial must be projected behind the best one before it is given up.
CERTAINTY = 1.5
# Reports before which nothing is pruned where the loss before training is not known: two make a slope.
LEAST_REPORTS = 3


def reason_to_prune(mine: Contender, rivals: Sequence[Contender], sign: float = 1.0) -> str | None:
    """Why a running trial should stop after its newest report, in words; None when it should go on.

    Args:
        mine: The trial, with a report.
        rivals: All others.
        sign: -1 where losses were turned, so that they are told as they were reported.
    """
    if not math.isfinite(mine.losses[-1]):
        return f"diverged: reported {sign * mine.losses[-1]}"
    made = len(mine.losses)
    if made >= len(mine.progress) or made <= mine.warmup or (mine.start is None and made < LEAST_REPORTS):
        return None
    return hopeless(mine, rivals, sign)


def hopeless(mine: Contender, rivals: Sequence[Contender], sign: float = 1.0) -> str | None:
    """Why a trial can be given up, in words; None while there is hope.

    Args:
        mine: The trial; what it reported is finite.
        rivals: All others.
        sign: As of `reason_to_prune`.
    """
    heading = mine.heading
    if heading.loss <= lowest(rival for rival in rivals if rival.complete or rival.unfinished):
        return None  # it leads those that may win, or is the last of them: what was pruned will not win
    best = min(rivals, key=reached)
    if not heading.loss - reached(best) > max(TIE, CERTAINTY * heading.error):
        return None
    head = f"projected {sign * heading.loss:.3f} ± {heading.error:.3f}"
    return f"{head}, and trial {best.number} reached {sign * reached(best):.3f}"


def reached(rival: Contender) -> float:
    """What a trial has for certain: a projection is good enough to park others for, and not to give them up.

    Of one that diverged nothing: what it reached before is of no use to anybody.
    """
    return rival.reached if rival.sound or rival.complete else math.inf


def decisive(contenders: Iterable[Contender]) -> list[Contender]:
    """The few that decide what any trial is up against; to leave the others out changes no verdict.

    They are the two that have reached the lowest losses, and of those that may go on or are complete the two
    that are heading lowest: a trial's rivals are all but itself.
    """
    listed = list(contenders)
    first = heapq.nsmallest(2, listed, key=reached)
    alive = (each for each in listed if each.unfinished or each.complete)
    leaders = heapq.nsmallest(2, alive, key=lambda each: each.heading.loss)
    return list({each.number: each for each in (*first, *leaders)}.values())


def lowest(contenders: Iterable[Contender]) -> float:
    """Where the best of them is heading; infinite where nobody is."""
    return min((each.heading.loss for each in contenders), default=math.inf)
