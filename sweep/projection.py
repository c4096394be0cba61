"""Where a learning curve is heading: its projected end, and how far that may be off.

A run learns as its rate allows, so progress is counted in the share of the whole run's summed learning rate and not in
steps: warm-up is hardly any of it, and the end of a cosine neither. In it the loss falls about as a power of progress,
`start - loss = drop * progress ** exponent`: what is left is known but for the exponent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from trials.curve import noise

# Fitted to the development half of the recorded curves (tests/benchmarks/curves): the exponent of the whole drop is
# this where a curve says nothing of it yet, …
USUAL_EXPONENT = 0.6
# …and by a straight line from the exponent between the last two reports where it does; one standard deviation around.
LOCAL_OFFSET, LOCAL_WEIGHT = 0.15, 0.6
EXPONENT_ERROR = 0.27
LEAST_LOCAL, MOST_LOCAL = 0.0, 2.0
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
    drop, share = start - losses[-1], shares[-1]
    if share <= 0:  # the rate was 0 so far
        return Projection(best, math.inf)
    exponent = _exponent(start, losses, shares)
    end = min(best, start - max(drop, 0.0) * share**-exponent)
    hoped = start - (max(drop, 0.0) + TIE) * share ** -(exponent + EXPONENT_ERROR)
    return Projection(end, math.hypot(max(0.0, end - hoped), noise(losses)))


def _exponent(start: float, losses: Sequence[float], shares: Sequence[float]) -> float:
    """How the drop is expected to go on: as between the last two reports, drawn to what is usual."""
    if len(losses) < 2 or shares[-2] <= 0:
        return USUAL_EXPONENT
    drop, before = start - losses[-1], start - losses[-2]
    if drop <= 0:
        return LOCAL_OFFSET
    if before <= 0:
        return LOCAL_OFFSET + LOCAL_WEIGHT
    local = math.log(drop / before) / math.log(shares[-1] / shares[-2])
    return LOCAL_OFFSET + LOCAL_WEIGHT * min(max(local, LEAST_LOCAL), MOST_LOCAL)
