"""Whether a trial has learnt its rows by heart: the training loss of its last pass over them against the second's.

Both are means over the same rows' label tokens, so that the difference is what was learnt and no matter of which rows
were drawn. The first pass is left out: in it the rows are new, and what falls is what any rows teach, noise among them
(which tokens there are, how an answer looks). The held-out rows have no say: an easy task is learnt for them, too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from trials.report import Report

# Share of the second pass's training loss that is gone in the last. Measured on the default model with 100 rows
# (`tests.benchmarks.broken_pipelines`): good rows lose 0.17 in four passes and 0.27 in five, answers of random tokens
# 0.02 in five (of the first pass's 0.37 and 0.17), and at a hundredth of the learning rate good rows lose 0.01.
LEAST_FALL = 0.08
# A training loss that moves less than this share stands still: so much can the order of the rows do.
STILL = 0.01


@dataclass(frozen=True)
class Overfitting:
    """What the training loss did.

    Attributes:
        kind: "over-fits", "learns too little", "stands still" or "diverges".
        first: Training loss of the first pass, in nats per token.
        second: That of the second one.
        last: That of the last one.
    """

    kind: Literal["over-fits", "learns too little", "stands still", "diverges"]
    first: float
    second: float
    last: float

    @property
    def passed(self) -> bool:
        """Whether the data pipeline has shown that it can be learnt from."""
        return self.kind == "over-fits"

    @property
    def fall(self) -> float:
        """Share of the second pass's loss that is gone in the last; below 0 when there is more."""
        return 1 - self.last / self.second


def judge(reports: Sequence[Report]) -> Overfitting:
    """Judges a trial that was evaluated once a pass.

    Args:
        reports: All of them; at least two.
    """
    losses = reports[0].train_loss, reports[1].train_loss, reports[-1].train_loss
    first, second, last = losses
    if not all(math.isfinite(report.train_loss) for report in reports) or last > (1 + STILL) * first:
        return Overfitting("diverges", *losses)
    if last > (1 - STILL) * first:
        return Overfitting("stands still", *losses)
    return Overfitting("over-fits" if last <= (1 - LEAST_FALL) * second else "learns too little", *losses)
