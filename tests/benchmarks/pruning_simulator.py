"""The bench of pruners: every method over the recorded curves, with 1, 4 and 16 slots. `make bench-pruning`.

`python -m tests.benchmarks.pruning_simulator [--part development --orders 200 --pools small default]` prints, for each
pool, how well early losses rank, the table, and the frontier of rows spent against regret. `--tune` searches each
baseline's grid on the curves for development first and keeps what it found in `tests/benchmarks/curves/tuned.json`.

Two criteria of tuning, so that each baseline is there at its cheapest and at its safest, with `TUNING_SLOTS` slots.
Of the settings whose mean regret is, in each pool, at most the unpruned study's and half the seed noise, the one that
spends the fewest rows, the pools' mean; and the same of those that also kill the best in at most `MOST_KILLED` of the
orders in each pool. Where there is none, the one that is the least above.
"""

import argparse
import json
import multiprocessing
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from tests.benchmarks.pruning_measures import Measures, Order, interval, measure, orders, rank_agreement
from tests.benchmarks.pruning_methods import METHODS, Method, Settings
from tests.benchmarks.recorded_curves import CURVES, PARTS, Configurations, read_curves, seed_noise

TUNED = "tuned.json"  # beside the curves
SLOTS = (1, 4, 16)
TUNING_SLOTS = 4
ALLOWED = 0.5  # of the seed noise, above the unpruned study's regret
MOST_KILLED = {"cheapest": 1.0, "safest": 0.05}  # by criterion


@dataclass(frozen=True)
class Result:
    """A method with its settings, measured in a pool.

    Attributes:
        method: Its name.
        settings: Its settings.
        pool: The pool's name.
        slots: Trials at once.
        measures: What it came to.
    """

    method: str
    settings: dict[str, Any]
    pool: str
    slots: int
    measures: Measures


@dataclass(frozen=True)
class _Task:
    method: str
    settings: dict[str, Any]
    pool: str
    studies: Sequence[Order]
    slots: int


def run(tasks: Iterable[_Task], processes: int) -> list[Result]:
    """Measures every task, several at once."""
    listed = list(tasks)
    if processes == 1:
        return [_measure(task) for task in listed]
    with multiprocessing.get_context("spawn").Pool(processes) as workers:
        return workers.map(_measure, listed, chunksize=1)


Tuned = Mapping[str, Mapping[str, dict[str, Any]]]  # by criterion and method


def tune(pools: Mapping[str, Configurations], count: int, processes: int) -> Tuned:
    """The best settings of each baseline that has any, by each criterion above."""
    studies = {name: orders(configurations, count) for name, configurations in pools.items()}
    tasks = [
        _Task(method.name, settings, pool, studies[pool], TUNING_SLOTS)
        for method in METHODS
        for settings in method.settings()
        for pool in pools
    ]
    results = run(tasks, processes)
    for pool in pools:
        print(f"\nevery setting on {pool}, development, {TUNING_SLOTS} slots: those that no other beats")
        show_frontier([result for result in results if result.pool == pool])
    allowed = {
        result.pool: float(result.measures.regret.mean()) + ALLOWED * seed_noise(pools[result.pool])
        for result in results
        if result.method == "none"
    }
    return {
        criterion: {method.name: _best(method, results, allowed, killed) for method in METHODS if method.grid}
        for criterion, killed in MOST_KILLED.items()
    }


def _best(method: Method, results: Sequence[Result], allowed: Mapping[str, float], killed: float) -> dict[str, Any]:
    ranked = []
    for settings in method.settings():
        own = [result for result in results if result.method == method.name and result.settings == settings]
        over = max(float(result.measures.regret.mean()) - allowed[result.pool] for result in own)
        over = max(over, *(float(result.measures.killed.mean()) - killed for result in own))
        spent = float(np.mean([result.measures.spent.mean() for result in own]))
        ranked.append(((over > 0, over if over > 0 else spent), settings))
    return min(ranked, key=lambda entry: entry[0])[1]


def table(pools: Mapping[str, Configurations], tuned: Tuned, count: int, processes: int) -> None:
    """Prints all that the bench has to say of a part of the curves."""
    for pool, configurations in pools.items():
        studies = orders(configurations, count)
        print(f"\n{pool}: {len(configurations)} configurations, studies of {len(studies[0].curves)}, {count} orders")
        print(f"seed noise {seed_noise(configurations):.4f} nats, one standard deviation between seeds")
        agreement = rank_agreement(configurations)
        print("Kendall's tau with the final ranking, at each report: " + " ".join(f"{tau:.2f}" for tau in agreement))
        for slots in SLOTS:
            tasks = [
                _Task(method.name, settings, pool, studies, slots)
                for method in METHODS
                for settings in _tuned_settings(method, tuned)
            ]
            results = run(tasks, processes)
            print(f"\n{pool}, {slots} slots")
            show(results)
            print("frontier of rows against regret: " + "; ".join(result.method for result in frontier(results)))
            compare(results)


def _tuned_settings(method: Method, tuned: Tuned) -> list[dict[str, Any]]:
    """A method's settings by each criterion, once where they are the same; its first ones where it is not tuned."""
    found: list[dict[str, Any]] = []
    for chosen in tuned.values():
        settings = chosen.get(method.name, method.settings()[0])
        if settings not in found:
            found.append(settings)
    return found or [method.settings()[0]]


def show(results: Sequence[Result]) -> None:
    """A line a method."""
    print(f"{'':<20}{'rows spent':>20}{'time':>8}{'regret, nats':>28}{'best killed':>13}   settings")
    for result in results:
        m = result.measures
        low, high = interval(m.spent)
        spent = f"{_percent(m.spent.mean())} [{_percent(low)}, {_percent(high)}]"
        low, high = interval(m.regret)
        regret = f"{m.regret.mean():.4f} [{low:.4f}, {high:.4f}]"
        told = ", ".join(f"{name} {value}" for name, value in result.settings.items())
        line = f"{result.method:<20}{spent:>20}{_percent(m.seconds.mean()):>8}{regret:>28}"
        print(f"{line}{_percent(m.killed.mean()):>13}   {told}".rstrip())


def compare(results: Sequence[Result], ours: str = "promote") -> None:
    """Our method against each baseline on the same orders: ratio of rows, and difference in regret, with intervals."""
    mine = next(result.measures for result in results if result.method == ours)
    stock = {method.name for method in METHODS if method.stock}
    for result in results:
        if result.method not in stock:
            continue
        other = result.measures
        ratio = mine.spent.mean() / other.spent.mean()
        low, high = interval(mine.spent / other.spent.mean())
        regret = mine.regret - other.regret
        least, most = interval(regret)
        told = f"rows {ratio:.2f} [{low:.2f}, {high:.2f}], regret {regret.mean():+.4f} [{least:+.4f}, {most:+.4f}]"
        settings = ", ".join(f"{name} {value}" for name, value in result.settings.items())
        print(f"{ours} against {result.method:<20} {told}   {settings}".rstrip())


def frontier(results: Sequence[Result]) -> list[Result]:
    """The results that no other beats in rows and regret at once, the cheapest first."""
    found: list[Result] = []
    for result in sorted(results, key=lambda r: (r.measures.spent.mean(), r.measures.regret.mean())):
        if not found or result.measures.regret.mean() < found[-1].measures.regret.mean():
            found.append(result)
    return found


def show_frontier(results: Sequence[Result]) -> None:
    """The frontier's lines."""
    show(frontier(results))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _measure(task: _Task) -> Result:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")  # pruners that are experimental, or that say why they do not prune
    method = next(method for method in METHODS if method.name == task.method)
    settings: Settings = task.settings
    measures = measure(method, settings, task.studies, task.slots)
    return Result(task.method, task.settings, task.pool, task.slots, measures)


def main() -> None:
    """Tunes if asked, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, default="development")
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--pools", nargs="*", help="by default all that are recorded")
    parser.add_argument("--curves", type=Path, default=CURVES)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--tune", action="store_true", help="first, on the curves for development")
    asked = parser.parse_args()
    path = asked.curves / TUNED
    if asked.tune:
        found = tune(_read(asked.curves / "development", asked.pools), asked.orders, asked.processes)
        path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf8")
    tuned = json.loads(path.read_text(encoding="utf8")) if path.exists() else {}
    print(f"the curves for {asked.part}")
    table(_read(asked.curves / asked.part, asked.pools), tuned, asked.orders, asked.processes)


def _read(folder: Path, pools: Sequence[str] | None) -> dict[str, Configurations]:
    names = pools or sorted((path.stem for path in folder.glob("*.jsonl")), reverse=True)
    return {name: read_curves(folder / f"{name}.jsonl") for name in names}


if __name__ == "__main__":
    main()
