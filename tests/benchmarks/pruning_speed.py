"""What a decision of the pruner costs: CPU of `TrendPruner.prune` and `TrendPromotion.judge` in a large study.

`python -m tests.benchmarks.pruning_speed`. Prints a table; asserts nothing. The study has trials that finished, some
that are parked and some that run, in memory and in a SQLite file as a sweep opens it. Before each decision a running
trial reports, as in a sweep; one that comes to its end is told and followed by another, so that what a pruner remembers
of the study is put to the test. The first decision, which reads all that was there before, is told apart.
"""

import argparse
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.contenders import HORIZON, PARKED, PROGRESS, START, WARMUP
from sweep.pruners import TrendPromotion, TrendPruner
from sweep.recovery import frozen
from sweep.storage import open_storage
from trials.schedule import learning_progress, report_steps

START_LOSS = 3.0
STEPS = 300


@dataclass(frozen=True)
class Size:
    """How large a study is: trials in all, those of them that run and those that are parked, and reports of each."""

    trials: int
    running: int
    parked: int
    reports: int


def curve(seed: int, reports: int) -> list[float]:
    """Losses that fall as a power of progress, with a little noise."""
    generator = random.Random(seed)
    drop, exponent = generator.uniform(0.3, 1.0), generator.uniform(0.2, 0.8)
    shares = (report / reports for report in range(1, reports + 1))
    return [START_LOSS - drop * share**exponent + generator.gauss(0, 0.003) for share in shares]


def attributes(size: Size) -> dict[str, Any]:
    """What the objective says of a trial."""
    steps = report_steps(STEPS, size.reports)
    progress = learning_progress("cosine", 0.1, STEPS, steps)
    warmup = sum(step <= 0.1 * STEPS for step in steps)
    return {HORIZON: size.reports, WARMUP: warmup, PROGRESS: progress, START: START_LOSS}


def trial(size: Size, number: int, state: TrialState, made: int, **more: Any) -> FrozenTrial:
    """A trial that has made so many reports."""
    losses = curve(number, size.reports)[:made]
    return create_trial(
        state=state,
        value=min(losses) if state == TrialState.COMPLETE else None,
        intermediate_values=dict(enumerate(losses, start=1)),
        user_attrs=attributes(size) | more,
    )


def fill(study: optuna.Study, size: Size) -> None:
    """Adds all trials but the running ones: half of what is finished is complete, half pruned."""
    generator = random.Random(0)
    finished = size.trials - size.running - size.parked
    states = [TrialState.COMPLETE, TrialState.PRUNED] * math.ceil(finished / 2)
    kinds = states[:finished] + [TrialState.WAITING] * size.parked
    generator.shuffle(kinds)
    for number, state in enumerate(kinds):
        made = size.reports if state == TrialState.COMPLETE else generator.randint(1, size.reports - 1)
        study.add_trial(trial(size, number, state, made, **{PARKED: state == TrialState.WAITING}))


def begin(study: optuna.Study, size: Size) -> optuna.Trial:
    """A new running trial; `ask` would hand out a parked one where the storage does not know of parking."""
    study.add_trial(trial(size, len(study.get_trials(deepcopy=False)), TrialState.RUNNING, 0))
    return optuna.Trial(study, study.get_trials(deepcopy=False)[-1]._trial_id)


def reporting(study: optuna.Study, size: Size, count: int) -> Iterator[FrozenTrial]:
    """Running trials as they are after each of so many reports, by turns."""
    running = [begin(study, size) for _ in range(size.running)]
    made = [place * size.reports // size.running for place in range(size.running)]
    for place, one in enumerate(running):
        for report in range(made[place]):
            one.report(curve(one.number, size.reports)[report], report + 1)
    for turn in range(count):
        place = turn % size.running
        if made[place] == size.reports - 1:
            study.tell(running[place], state=TrialState.PRUNED)
            running[place], made[place] = begin(study, size), 0
        one = running[place]
        one.report(curve(one.number, size.reports)[made[place]], made[place] + 1)
        made[place] += 1
        yield frozen(one)


def costs(study: optuna.Study, size: Size, count: int, decide: Callable[[FrozenTrial], object]) -> list[float]:
    """CPU milliseconds of each decision."""
    found = []
    for one in reporting(study, size, count):
        before = time.thread_time()
        decide(one)
        found.append(1000 * (time.thread_time() - before))
    return found


def main() -> None:
    """Prints a line for each decision and storage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--running", type=int, default=4)
    parser.add_argument("--parked", type=int, default=200)
    parser.add_argument("--reports", type=int, default=30)
    parser.add_argument("--decisions", type=int, default=400)
    asked = parser.parse_args()
    size = Size(asked.trials, asked.running, asked.parked, asked.reports)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    print(f"{size.trials} trials of {size.reports} reports, {size.running} running, {size.parked} parked")
    print(
        f"{'decision':<22} {'storage':<8} {'median':>8} {'99 %':>8} {'first':>8}   CPU ms, {asked.decisions} decisions"
    )
    for name in ("memory", "SQLite"):
        with tempfile.TemporaryDirectory() as folder:
            storage = open_storage(str(Path(folder) / "sweep.db"), create=True) if name == "SQLite" else None
            study = optuna.create_study(storage=storage)
            fill(study, size)
            decisions: dict[str, Callable[[FrozenTrial], object]] = {
                "TrendPruner.prune": partial(TrendPruner(size.reports).prune, study),
                "TrendPromotion.judge": partial(TrendPromotion(size.reports).judge, study, more=False),
            }
            for label, decide in decisions.items():
                first, *rest = costs(study, size, asked.decisions + 1, decide)
                high = statistics.quantiles(rest, n=100)[-1]
                print(f"{label:<22} {name:<8} {statistics.median(rest):>8.2f} {high:>8.2f} {first:>8.2f}")


if __name__ == "__main__":
    main()
