"""What a shared database carries: trials a second of many coordinators, and how long a large study takes to open.

`make bench-storage`. Prints tables; asserts nothing but that totals are exact. Coordinators are real processes that run
this program's search with 10 reports a trial and a launcher that trains nothing, so that what is left is storage.
PostgreSQL is one on loopback, with `fsync` off, as the tests' is; SQLite is a file.
"""

import argparse
import io
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, cast

import optuna
import sqlalchemy as sa
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import DuplicatedStudyError
from optuna.trial import TrialState, create_trial
from rich.console import Console

from spaces.parameter import Choice, Parameter
from sweep.artifacts import Artifacts
from sweep.objective import Session
from sweep.plan import ranges
from sweep.progress import PlainProgress
from sweep.recovery import put_back_interrupted
from sweep.results import Results, reports_table
from sweep.searching import Search
from sweep.storage import open_storage
from sweep.study import IDENTITY, SOURCE, Identity, create_study, finished_trials, load_study
from sweep.sweep_storage import SweepStorage
from tests.postgres import Postgres, bin_folder
from tests.sweep.fakes import make_plan, make_space, report
from trials.config import TrialConfig
from trials.protocol import Finished, Moved
from trials.report import Report

REPORTS = 10
SPAWN = multiprocessing.get_context("spawn")


class Played:
    """A run whose reports are there at once."""

    finished: Finished | None = None

    def __iter__(self) -> Iterator[Report]:
        """The reports."""
        for evaluation in range(1, REPORTS + 1):
            yield report(evaluation, 3.0 - 0.1 * evaluation, total=REPORTS)
        self.finished = Finished(trainable_parameters=1234, early=False)

    def close(self) -> None:
        """Does nothing."""


class PlayedLauncher:
    """Trains nothing, in one slot."""

    slots = 1

    def start(self, config: TrialConfig, folder: Path, on_step: Callable[[Moved], None]) -> Played:
        """A run."""
        return Played()

    def stop(self, *, save: bool) -> None:
        """Does nothing."""


class NoPictures:
    """In the place of `Artifacts`, whose pictures cost processor and not storage."""

    def add(self, *_given: Any, **_named: Any) -> None:
        """Does nothing."""

    def finish(self) -> str:
        """Nothing is missing."""
        return ""


def made_study(storage: SweepStorage, name: str = "demo") -> optuna.Study:
    """The study, made by whoever is first."""
    plan = make_plan(make_space())
    try:
        return create_study(storage, name, Identity.of(plan.space, plan.budget, plan.seed, plan.ready), plan.space)
    except DuplicatedStudyError:
        return optuna.load_study(study_name=name, storage=storage)


def _quieten() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # as the command does
    warnings.filterwarnings("ignore", message=".* is experimental")


def coordinate(url: str, output: Path, total: int, together: Barrier) -> None:
    """One coordinator, from when all are ready to the study's total."""
    _quieten()
    storage = open_storage(url, create=True)
    study = made_study(storage)
    study.sampler, study.pruner = optuna.samplers.RandomSampler(), optuna.pruners.NopPruner()
    session = Session(
        plan=make_plan(make_space()),
        launcher=cast(Any, PlayedLauncher()),
        results=Results(storage.engine, "demo", storage.patience),
        artifacts=cast(Artifacts, NoPictures()),
        progress=PlainProgress(Console(file=io.StringIO())),
        output=output,
        total=total,
        keep_adapters=3,
    )
    together.wait()
    Search(session, study).run(total)


def rate(url: str, coordinators: int, total: int) -> float:
    """Trials a second of so many coordinators; they begin together."""
    together = SPAWN.Barrier(coordinators + 1)
    with tempfile.TemporaryDirectory() as folder:
        processes = [
            SPAWN.Process(target=coordinate, args=(url, Path(folder) / str(place), total, together))
            for place in range(coordinators)
        ]
        for process in processes:
            process.start()
        together.wait()
        started = time.monotonic()
        for process in processes:
            process.join()
        seconds = time.monotonic() - started
    finished = len(finished_trials(optuna.load_study(study_name="demo", storage=open_storage(url, create=False))))
    assert finished == total, f"{finished} of {total}"
    return total / seconds


def fill(storage: SweepStorage, trials: int) -> None:
    """Makes a study of so many finished trials with all their reports, a third of them pruned half way."""
    study, plan = made_study(storage), make_plan(make_space())
    study.set_user_attr(SOURCE, {"space": "demo", "model": "", "dataset": "", "expand": False, "start_loss": 3.5})
    results, knobs = Results(storage.engine, "demo"), ranges(plan.space)
    knobs |= {
        knob.name: CategoricalDistribution(knob.options) for knob in plan.space.search if isinstance(knob, Choice)
    }
    chance = random.Random(0)
    drawn = [plan.space.walk(lambda parameter: _draw(parameter, chance)) for _ in range(20)]
    rows = []
    for number in range(trials):
        params = drawn[number % len(drawn)]
        config = plan.config(params)
        pruned = number % 3 == 2
        made = [report(step, 3.0 - 0.1 * step + number % 7 / 50, total=REPORTS) for step in range(1, REPORTS + 1)]
        made = made[: REPORTS // 2] if pruned else made
        study.add_trial(
            create_trial(
                state=TrialState.PRUNED if pruned else TrialState.COMPLETE,
                value=made[-1].eval_loss,
                params={name: value for name, value in params.items() if name in knobs},
                distributions=knobs,
                intermediate_values={each.evaluation: each.eval_loss for each in made},
                user_attrs={"horizon": REPORTS, "warmup_reports": 0, "reason": ""},
            )
        )
        results.start_trial(number, config, params, f"demo/trials/{number:05d}", 20)
        results.end_trial(number, "pruned" if pruned else "complete", value=made[-1].eval_loss)
        rows += [{**asdict(each), "study_name": "demo", "trial_number": number} for each in made]
    with storage.engine.begin() as connection:
        connection.execute(sa.insert(reports_table), rows)


def _draw(parameter: Parameter, chance: random.Random) -> Any:
    if isinstance(parameter, Choice):
        return chance.choice(parameter.options)
    return chance.uniform(parameter.low, parameter.high)


def seconds_of(url: str, *command: str) -> float:
    """Seconds of `sweep COMMAND`, with the start of its interpreter."""
    environment = {**os.environ, "STORAGE": url}
    started = time.monotonic()
    subprocess.run([sys.executable, "-m", "sweep", *command], env=environment, check=True, capture_output=True)
    return time.monotonic() - started


def resume_seconds(url: str) -> float:
    """Seconds until a coordinator that goes on with a study has found what is done, lost and waiting."""
    started = time.monotonic()
    storage = open_storage(url, create=True)
    study = load_study(storage, "demo")
    assert study.user_attrs[IDENTITY]
    put_back_interrupted(study)
    results = Results(storage.engine, "demo", storage.patience)
    results.close_failed(trial.number for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)))
    len(finished_trials(study))
    results.rows_spent_and_saved()
    return time.monotonic() - started


def main(asked: Sequence[str] | None = None) -> None:
    """Runs all and prints the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=400)
    parser.add_argument("--coordinators", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 1000, 10000])
    options = parser.parse_args(asked)
    _quieten()
    with tempfile.TemporaryDirectory() as name:
        folder, server = Path(name), None
        if bin_folder() is not None:
            server = Postgres()
            server.start()
        try:
            measure(folder, server, options)
        finally:
            if server is not None:
                server.close()


def measure(folder: Path, server: Postgres | None, options: argparse.Namespace) -> None:
    """The two tables."""

    def address(kind: str, name: str) -> str:
        return str(folder / f"{name}.db") if kind == "SQLite" else cast(Postgres, server).new_database(name)

    kinds = ["SQLite", *(["PostgreSQL"] if server is not None else [])]
    print(f"{options.trials} trials of {REPORTS} reports   trials a second")
    for count in options.coordinators:
        for kind in kinds:
            found = rate(address(kind, f"rate-{count}"), count, options.trials)
            print(f"  {count:>2} coordinators  {kind:<10}  {found:6.1f}", flush=True)
    print("seconds to resume, of `sweep show`, of `sweep list`")
    for size in options.sizes:
        for kind in kinds:
            url = address(kind, f"size-{size}")
            storage = open_storage(url, create=True)
            fill(storage, size)
            storage.engine.dispose()
            shown, listed = seconds_of(url, "show", "demo"), seconds_of(url, "list")
            print(
                f"  {size:>6} trials  {kind:<10}  {resume_seconds(url):5.2f}  {shown:5.2f}  {listed:5.2f}", flush=True
            )


if __name__ == "__main__":
    main()
