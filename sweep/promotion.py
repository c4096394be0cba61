"""Promotion: trials that do not lead are parked, with their state on disk, and the best of them go on later.

All of a study's trials are begun and looked at; the one that leads goes on at once. When all have begun, those go on
that may still beat the leader, the one that is heading lowest first. What is parked can be taken up again, so parking
asks for less than pruning: a trial is given up when it is clearly behind, or when the study is over without it.
"""

import heapq
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from sweep.contenders import Contender, others
from sweep.trend import decisive, hopeless, lowest, reason_to_prune

# Standard deviations that a trial must at most lack to the leader's projected end for it to go on. Fewer than it takes
# to give a trial up: what is between waits for the leader to show how far it comes.
HOPE = 1.25


@dataclass(frozen=True)
class Verdict:
    """What is to be done with a trial that has reported, and why in words."""

    action: Literal["go on", "park", "prune"]
    reason: str = ""


GO_ON = Verdict("go on")


def verdict(mine: Contender, rivals: list[Contender], *, more: bool, sign: float = 1.0) -> Verdict:
    """What a running trial should do after its newest report.

    Args:
        mine: The trial, with its reports.
        rivals: All others.
        more: Whether trials are still to be begun.
        sign: -1 where losses were turned, so that they are told as they were reported.
    """
    reason = reason_to_prune(mine, rivals, sign)
    if reason:
        return Verdict("prune", reason)
    if len(mine.losses) >= len(mine.progress) or not math.isfinite(mine.heading.error):
        return GO_ON  # it is at its end, or nothing is known of it yet
    alive = list(_alive(rivals))
    leader = lowest(alive)
    if mine.heading.loss <= leader:
        return GO_ON
    waits = Verdict("park", f"heads for {sign * mine.heading.loss:.3f}, the leader for {sign * leader:.3f}")
    if more or not _may_lead(mine, leader):
        return waits
    queue = (rival for rival in alive if rival.parked and _may_lead(rival, leader))
    return GO_ON if mine.heading.loss <= lowest(queue) else waits


def promoted(contenders: list[Contender], *, more: bool) -> int | None:
    """The number of the parked trial that a free slot should take up; None for none.

    Args:
        contenders: All trials that have reported.
        more: Whether trials are still to be begun: then only one that leads is taken up.
    """
    few = decisive(contenders)
    leaders = heapq.nsmallest(2, _alive(contenders), key=lambda each: each.heading.loss)
    fit = []
    for each in contenders:
        if not each.parked:
            continue
        leader = lowest(others(leaders, each.number))
        leads = each.heading.loss < leader if more else _may_lead(each, leader)
        if leads and hopeless(each, others(few, each.number)) is None:
            fit.append(each)
    best = min(fit, key=lambda each: each.heading.loss, default=None)
    return None if best is None else best.number


def given_up(contenders: list[Contender], *, over: bool, sign: float = 1.0) -> dict[int, str]:
    """The parked trials that are not to be taken up again, by number, with the reason in words.

    Args:
        contenders: All trials that have reported.
        over: Whether nothing runs any more and nothing is to be begun or taken up.
        sign: As of `verdict`.
    """
    found, few = {}, decisive(contenders)
    best = lowest(each for each in contenders if each.complete)
    for each in contenders:
        if not each.parked:
            continue
        in_warmup = len(each.losses) <= each.warmup
        reason = None if in_warmup else hopeless(each, others(few, each.number), sign)
        if over and not reason:
            head = f"projected {sign * each.heading.loss:.3f} ± {each.heading.error:.3f}"
            reason = f"{head}, not taken up again: the best reached {sign * best:.3f}"
        if reason:
            found[each.number] = reason
    return found


def _alive(contenders: Iterable[Contender]) -> Iterator[Contender]:
    return (each for each in contenders if each.unfinished or each.complete)


def _may_lead(mine: Contender, leader: float) -> bool:
    return mine.heading.loss - HOPE * mine.heading.error <= leader
