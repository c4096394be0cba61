"""Reads two factorial studies and says whether what is known of LoRA holds in them.

`make bench-trends` runs the studies (about an hour and a half on two cores) and then this. Known, and looked for:

1. The best learning rate moves by at most about 3 times between neighbouring ranks.
2. At a fixed alpha/rank ratio it does not rise with the rank.
3. Doubling the ratio lowers it.
4. All linear layers are at least as good as attention alone, each at its own best rate.
"""

import argparse
import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweep.progress import format_learning_rate
from sweep.results import Results
from sweep.storage import open_storage


@dataclass(frozen=True)
class Curve:
    """Loss against learning rate at one level, the mean over seeds.

    Attributes:
        rates: Learning rates, rising.
        losses: Evaluation losses in nats per token, [rates, seeds].
    """

    rates: Sequence[float]
    losses: np.ndarray

    def best_rate(self, losses: np.ndarray | None = None) -> float:
        """Where a parabola through the lowest point and its neighbours is lowest, in the log of the rate.

        On the grid's edge it is the edge: the optimum may lie beyond.
        """
        means = self.losses.mean(axis=1) if losses is None else losses
        place = int(means.argmin())
        if place in (0, len(means) - 1):
            return self.rates[place]
        x, y = np.log([self.rates[place + step] for step in (-1, 0, 1)]), means[place - 1 : place + 2]
        a, b, _ = np.polyfit(x, y, 2)
        return float(math.exp(-b / (2 * a)))

    def per_seed(self) -> list[float]:
        """The best rate of each seed alone."""
        return [self.best_rate(self.losses[:, seed]) for seed in range(self.losses.shape[1])]

    @property
    def best_loss(self) -> float:
        """The lowest mean."""
        return float(self.losses.mean(axis=1).min())


def curves(rows: Sequence[dict[str, Any]], knobs: Sequence[str]) -> dict[tuple[Any, ...], Curve]:
    """A curve for every combination of these knobs; what else varied but for the rate and the seed is averaged."""
    cells: dict[tuple[Any, ...], dict[float, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row["state"] in ("complete", "pruned") and row["value"] is not None:
            params = row["params"]
            level = tuple(params[knob] for knob in knobs)
            cells[level][params["learning_rate"]].setdefault(params["seed"], []).append(float(row["value"]))
    found = {}
    for level, by_rate in sorted(cells.items()):
        rates = sorted(by_rate)
        seeds = sorted(set.intersection(*(set(by_rate[rate]) for rate in rates)))
        losses = np.array([[np.mean(by_rate[rate][seed]) for seed in seeds] for rate in rates])
        found[level] = Curve(rates, losses)
    return found


def show(found: dict[tuple[Any, ...], Curve]) -> None:
    """A line a level: the mean loss at every rate, the best rate, and each seed's own."""
    rates = next(iter(found.values())).rates
    print(f"{'':<16}" + "".join(f"{format_learning_rate(rate):>9}" for rate in rates) + "   best lr   a seed alone")
    for level, curve in found.items():
        means = "".join(f"{loss:>9.3f}" for loss in curve.losses.mean(axis=1))
        alone = ", ".join(format_learning_rate(rate) for rate in curve.per_seed())
        name = " ".join(map(str, level))
        print(f"{name:<16}{means}   {format_learning_rate(curve.best_rate()):<9} {alone}")


def main() -> None:
    """Prints the curves and the four trends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", default="runs/trends.db")
    parser.add_argument("--ratio-target", default="ratio-target", help="study over ratio, target and learning rate")
    parser.add_argument("--ranks", default="ranks", help="study over rank and learning rate")
    asked = parser.parse_args()
    engine = open_storage(asked.storage, create=False).engine
    rows = Results(engine, asked.ratio_target).trials()
    by_both, by_ratio = curves(rows, ("alpha_ratio", "lora_target")), curves(rows, ("alpha_ratio",))
    print("ratio, target")
    show(by_both)
    print("ratio, over the targets")
    show(by_ratio)
    by_rank = curves(Results(engine, asked.ranks).trials(), ("lora_rank",))
    print("rank")
    show(by_rank)
    rates = [curve.best_rate() for _, curve in sorted(by_rank.items())]
    steps = [later / before for before, later in itertools.pairwise(rates)]
    print("\n1. best rate from one rank to the next, times:", ", ".join(f"{step:.2f}" for step in steps))
    print("2. the same, at one ratio: does it rise?", "yes" if max(steps) > 1 else "no")
    ratios = sorted(by_ratio)
    for before, after in itertools.pairwise(ratios):
        step = by_ratio[after].best_rate() / by_ratio[before].best_rate()
        print(f"3. best rate from ratio {before[0]} to {after[0]}, times: {step:.2f}")
    for ratio in ratios:
        at_best = {target: by_both[*ratio, target].best_loss for target in ("all", "attention", "qv")}
        told = ", ".join(f"{target} {loss:.3f}" for target, loss in at_best.items())
        print(f"4. lowest loss at ratio {ratio[0]}: {told}")


if __name__ == "__main__":
    main()
