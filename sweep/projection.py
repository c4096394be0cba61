"""Where a learning curve is heading: its projected end, and how far that may be off.

A run learns as its rate allows, so progress is counted in the share of the whole run's summed learning rate and not in
steps: warm-up is hardly any of it, and the end of a cosine neither. In it the loss falls about as a power of progress,
`start - loss = drop * progress ** exponent`: what is left is known but for the exponent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trials.curve import noise

# Fitted to the recorded curves for development (tests/benchmarks/curves): the exponent of the whole drop is this where
# a curve says nothing of it yet, …
USUAL_EXPONENT = 0.6
# …and by a straight line from the exponent since there was this share of today's progress where it does.
LOCAL_SPAN = 0.65
LOCAL_OFFSET, LOCAL_WEIGHT = 0.25, 0.4
# One standard deviation of the exponent.
EXPONENT_ERROR = 0.3
LEAST_LOCAL, MOST_LOCAL = 0.0, 2.0
# Before this share of the learning a curve tells nothing: an adapter starts from zero, and at first its loss hardly
# moves, however far it falls in the end.
LEAST_SHARE = 0.05
# Nats per token: losses closer than this are a tie, and a drop is not known better.
TIE = 0.002


@dataclass(frozen=True)
class Projection:
    """Where a curve is expected to end: its best loss, and one standard deviation towards lower ones, in nats."""

    loss: float
    error: float


def even_progress(horizon: int) -> list[float]:
    """The progress of a run whose schedule is not known: as much with each of its reports."""
    return [report / horizon for report in range(1, horizon + 1)]


def project(losses: Sequence[float], progress: Sequence[float], start: float | None = None) -> Projection:
    """Extrapolates a curve to its end.

    Args:
        losses: At reports 1, 2, …, in nats per token; at least one, all finite.
        progress: At every report of the whole run, rising to 1 (`trials.schedule.learning_progress`).
        start: The loss before training. Without it the first report is taken for the start.

    Returns:
        The best loss that the whole run is expected to reach: a rise does not undo what was reached. The error is
        infinite where nothing is known yet.
    """
    best, reports = min(losses), len(losses)
    if reports >= len(progress):
        return Projection(best, noise(losses))
    if start is None:
        if reports == 1:
            return Projection(best, math.inf)
        start, first = losses[0], progress[0]
        shares = [(share - first) / (1 - first) for share in progress[1:reports]]
        losses = losses[1:]
    else:
        shares = list(progress[:reports])
    if shares[-1] < LEAST_SHARE:
        return Projection(best, math.inf)
    end = min(best, _end(start, losses[-1], shares[-1], _exponent(start, losses, shares)))
    return Projection(end, max(0.0, end - _hoped(start, losses, shares)))


def _end(start: float, loss: float, share: float, exponent: float) -> float:
    """Where a power law from the start through a loss at a share of the progress ends."""
    end: float = start - max(start - loss, 0.0) * share**-exponent
    return end


def _hoped(start: float, losses: Sequence[float], shares: Sequence[float]) -> float:
    """The end if the exponent is larger than expected, by one standard deviation.

    At high rates a loss leaps for a report or two and comes back: a curve that has just risen for the first time, or is
    falling back, is hoped for as it was at its best.
    """
    exponent = _exponent(start, losses, shares) + EXPONENT_ERROR
    hoped = _end(start, min(losses[-1], start) - TIE, shares[-1], exponent)
    best, newest = losses.index(min(losses)), len(losses) - 1
    if best < newest and shares[best] > 0 and (best == newest - 1 or losses[-1] < losses[-2]):
        return min(hoped, _hoped(start, losses[: best + 1], shares[: best + 1]))
    return hoped


def _exponent(start: float, losses: Sequence[float], shares: Sequence[float]) -> float:
    """How the drop is expected to go on: as it did of late, drawn to what is usual."""
    since = _since(shares)
    if since is None:
        return USUAL_EXPONENT
    drop, before = start - losses[-1], start - losses[since]
    if drop <= 0:
        return LOCAL_OFFSET
    if before <= 0:
        return LOCAL_OFFSET + LOCAL_WEIGHT
    local = math.log(drop / before) / math.log(shares[-1] / shares[since])
    return LOCAL_OFFSET + LOCAL_WEIGHT * min(max(local, LEAST_LOCAL), MOST_LOCAL)


def _since(shares: Sequence[float]) -> int | None:
    """The newest report that is far enough back to show an exponent, or else the oldest with any progress.

    Neighbours late in a run differ by little but noise. None where the newest report is the only one.
    """
    earlier = [report for report in range(len(shares) - 1) if shares[report] > 0]
    far = [report for report in earlier if shares[report] <= LOCAL_SPAN * shares[-1]]
    return far[-1] if far else min(earlier, default=None)
