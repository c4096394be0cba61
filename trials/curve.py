"""What a learning curve says by itself: its best point, divergence, sustained rise, standstill.

Knows reports only. Comparing a curve with other trials' is the pruner's work.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trials.report import Report

# Nats above the run's first evaluation that count as divergence: twice the gap of 0.5 that the guide
# (1.2) calls abnormal. A healthy run stays below its first evaluation but for noise of a few hundredths.
DIVERGENCE_NATS = 1.0
# Evaluations in a row that must each be higher than the one before, for a rise to be a trend and not noise.
# With independent noise three rises in a row happen once in 4! = 24 flat stretches; the size test below
# and the demand that training loss falls make it rare.
RISING_EVALUATIONS = 3
# A rise must be larger than this many times the curve's own noise.
RISE_OVER_NOISE = 2.0


class LearningCurve:
    """The reports of one run so far, oldest first."""

    def __init__(self, reports: Sequence[Report] = ()) -> None:
        self.reports = list(reports)

    def append(self, report: Report) -> None:
        """Adds the newest report."""
        self.reports.append(report)

    @property
    def eval_losses(self) -> list[float]:
        """Evaluation losses in nats per token, one a report."""
        return [report.eval_loss for report in self.reports]

    @property
    def best(self) -> Report | None:
        """The report with the lowest finite evaluation loss; None when there is none."""
        finite = [report for report in self.reports if math.isfinite(report.eval_loss)]
        return min(finite, key=lambda report: report.eval_loss, default=None)

    def divergence(self) -> str | None:
        """Says in words that the newest report has diverged; None when it has not."""
        if not self.reports:
            return None
        last, first = self.reports[-1], self.reports[0]
        for name, loss in (("evaluation", last.eval_loss), ("training", last.train_loss)):
            if not math.isfinite(loss):
                return f"diverged: {name} loss is {loss} at step {last.step}"
        if last.eval_loss > first.eval_loss + DIVERGENCE_NATS:
            return (
                f"diverged: evaluation loss {last.eval_loss:.3f} at step {last.step} is more than "
                f"{DIVERGENCE_NATS:g} above the first, {first.eval_loss:.3f}"
            )
        return None

    def sustained_rise(self) -> str | None:
        """Says that evaluation loss keeps rising while training loss falls (guide 1.2, 2.3); else None."""
        if len(self.reports) <= RISING_EVALUATIONS:
            return None
        tail = self.reports[-RISING_EVALUATIONS - 1 :]
        losses = [report.eval_loss for report in tail]
        if not all(later > earlier for earlier, later in itertools.pairwise(losses)):
            return None
        if not tail[-1].train_loss < tail[0].train_loss:
            return None
        if losses[-1] - losses[0] <= RISE_OVER_NOISE * noise(self.eval_losses):
            return None
        return (
            f"over-fitting: evaluation loss rises {losses[0]:.3f} → {losses[-1]:.3f} over {RISING_EVALUATIONS} "
            f"evaluations while training loss falls {tail[0].train_loss:.3f} → {tail[-1].train_loss:.3f}"
        )

    def stalled(self, patience: int) -> bool:
        """Whether the last `patience` evaluations brought no improvement (guide 3.4); 0 is never."""
        best = self.best
        if patience == 0 or best is None:
            return False
        return self.reports[-1].evaluation - best.evaluation >= patience


def noise(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Standard deviation of a curve's noise, from its second differences; 0 below four points.

    A second difference of independent noise has six times its variance, and a smooth trend leaves little in
    it. The median is taken, so that one jump does not count as noise (1.4826 turns it into a deviation).
    """
    known = np.asarray(values, dtype=float)
    with np.errstate(invalid="ignore", over="ignore"):
        bends = np.abs(known[2:] - 2 * known[1:-1] + known[:-2])
    bends = bends[np.isfinite(bends)]
    return 1.4826 * float(np.median(bends)) / math.sqrt(6) if len(bends) >= 2 else 0.0
