"""How near the studies of a database come to the optimum that one of them found, and after how many trials.

    python -m tests.benchmarks.ranges runs/ranges.db held guide moved grown

The first study is the reference: its range held the optimum from the start.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.expanding import expanded_plain, recorded
from sweep.numbers import number, span
from sweep.progress import format_learning_rate
from sweep.results import Results
from sweep.storage import open_storage
from sweep.study import IDENTITY, load_study

# Losses nearer than that are a repeat's noise, in nats.
NEAR = 0.02


def within(factor: float, rate: float, optimum: float) -> bool:
    """Whether a learning rate is so near to another."""
    return abs(math.log(rate / optimum)) <= math.log(factor)


def trials_until(rows: Sequence[Mapping[str, Any]], optimum: float, loss: float) -> tuple[int | None, int | None]:
    """After how many finished trials the best learning rate stays within a factor of 2 of the optimum, and after how
    many the best loss is near the reference's; None for never.

    Args:
        rows: Rows of `sweep_trials` that are complete or pruned, by number.
        optimum: The reference's best learning rate.
        loss: Its loss, in nats per token.
    """
    best: Mapping[str, Any] | None = None
    rate_at: int | None = None
    loss_at: int | None = None
    for count, row in enumerate(rows, start=1):
        if row["state"] == "complete" and (best is None or row["value"] < best["value"]):
            best = row
        if best is None or not within(2, best["learning_rate"], optimum):
            rate_at = None
        elif rate_at is None:
            rate_at = count
        if loss_at is None and best is not None and best["value"] <= loss + NEAR:
            loss_at = count
    return rate_at, loss_at


def main() -> None:
    """Prints a row a study."""
    storage = open_storage(sys.argv[1], create=False)
    print(
        f"study       range                          trials  best lr  x optimum  loss    within 2x at  within {NEAR} at"
    )
    reference: Mapping[str, Any] | None = None
    for name in sys.argv[2:]:
        study = load_study(storage, name)
        rows = [row for row in Results(storage.engine, name).trials() if row["state"] in ("complete", "pruned")]
        best = min((row for row in rows if row["state"] == "complete"), key=lambda row: row["value"])
        reference = reference or best
        spec = expanded_plain(study.user_attrs[IDENTITY]["space"]["resolved"], recorded(study))["search"]
        searched = span(spec["learning_rate"]["float"])
        if recorded(study):
            searched += f" ({len(recorded(study))} growths)"
        rate_at, loss_at = trials_until(rows, reference["learning_rate"], reference["value"])
        times = number(float(f"{best['learning_rate'] / reference['learning_rate']:.2g}"))
        print(
            f"{name:<11} {searched:<30} {len(rows):>6}  {format_learning_rate(best['learning_rate']):<7}  "
            f"{times:<9}  {best['value']:.3f}   "
            f"{rate_at or 'never':<12}  {loss_at or 'never'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
