"""How well ranges grow, in synthetic studies whose optimum is known: `make bench-expansion`.

No training: a trial's loss is a quadratic in the log learning rate, and batch, rank and target matter as they do in the
default study. Space, sampler, pruner, growth and Optuna are the real ones.
"""

import io
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy as sa
from optuna.storages import BaseStorage
from rich.console import Console

from spaces.load import load_space
from sweep.artifacts import Artifacts
from sweep.contenders import HORIZON
from sweep.expanding import Expansion, make_expander, recorded
from sweep.objective import Session
from sweep.plan import suggest
from sweep.progress import PlainProgress
from sweep.pruners import TrendPruner
from sweep.results import Results
from sweep.samplers import SeededTPE
from tests.sweep.fakes import FakeLauncher, make_plan

REPORTS = 5  # as in the default study on the CPU
# Nats per decade squared: what the default study loses between 1e-4 and its optimum near 4.5e-3, 0.3 to 0.4 nats.
CURVATURE = 0.15
NOISE = 0.01  # nats, of a trial that is run again
# The share of what is left that each report leaves, and what is left at the beginning, in nats.
SPEED, HEIGHT = (0.45, 0.6), (0.4, 0.8)
# Nats that a level loses against the best: the default study's, roughly.
LEVELS: Mapping[str, Mapping[Any, float]] = {
    "effective_batch_size": {8: 0.0, 16: 0.12, 32: 0.28},
    "lora_rank": {8: 0.03, 16: 0.0, 32: 0.02},
    "lora_target": {"all": 0.0, "mlp": 0.02, "attention": 0.04, "qv": 0.08},
}


@dataclass(frozen=True)
class Simulated:
    """A finished synthetic study.

    Attributes:
        rates: Learning rates, by trial.
        best: The best complete trial's.
        expansions: What grew.
        said: What the user was told.
    """

    rates: list[float]
    best: float
    expansions: list[Expansion]
    said: str

    def within(self, factor: float, optimum: float) -> bool:
        """Whether the best learning rate is so near to the optimum."""
        return abs(math.log(self.best / optimum)) <= math.log(factor)


def make_session(bounds: str, total: int) -> tuple[Session, io.StringIO]:
    """A session of sft_lora with a learning-rate range like "1e-4..2e-4", and what it says."""
    space = load_space("sft_lora").override([f"learning_rate={bounds}", "num_train_epochs=2"])
    said, nowhere = io.StringIO(), Path("nowhere")
    session = Session(
        plan=make_plan(space),
        launcher=FakeLauncher([]),
        results=Results(sa.create_engine("sqlite://"), "demo"),
        artifacts=Artifacts(nowhere),
        progress=PlainProgress(Console(file=said, width=200)),
        output=nowhere,
        total=total,
        keep_adapters=1,
    )
    return session, said


def make_objective(session: Session, optimum: float, seed: int) -> Callable[[optuna.Trial], float]:
    """The loss of a trial in nats, by way of a curve that can be pruned; the same for the same seed and number."""

    def objective(trial: optuna.Trial) -> float:
        params = session.plan.space.walk(lambda knob: suggest(trial, knob))
        rng = np.random.default_rng([seed, trial.number])
        decades = math.log10(params["learning_rate"] / optimum)
        end = 3.6 + CURVATURE * decades**2 + rng.normal(0, NOISE)
        end += sum(loss[params[knob]] for knob, loss in LEVELS.items())
        trial.set_user_attr(HORIZON, REPORTS)
        speed, height, best = rng.uniform(*SPEED), rng.uniform(*HEIGHT), math.inf
        for report in range(1, REPORTS + 1):
            loss = end + height * (speed**report - speed**REPORTS)
            best = min(best, loss)
            trial.report(loss, report)
            if trial.should_prune():
                raise optuna.TrialPruned
        return best

    return objective


def simulate(
    seed: int,
    bounds: str,
    optimum: float,
    total: int = 24,
    *,
    expand: bool,
    n_jobs: int = 1,
    storage: BaseStorage | None = None,
) -> Simulated:
    """Runs a study of `total` trials."""
    session, said = make_session(bounds, total)
    study = optuna.create_study(storage=storage, sampler=SeededTPE(seed, total), pruner=TrendPruner(REPORTS, 1))
    for point in session.plan.space.start:
        study.enqueue_trial(dict(point))
    callbacks = [make_expander(session)] if expand else []
    study.optimize(make_objective(session, optimum, seed), n_trials=total, n_jobs=n_jobs, callbacks=callbacks)
    rates = [float(trial.params["learning_rate"]) for trial in study.trials if "learning_rate" in trial.params]
    return Simulated(rates, float(study.best_params["learning_rate"]), recorded(study), said.getvalue())


def _row(bounds: str, optimum: float, total: int, seeds: Sequence[int]) -> str:
    grown = [simulate(seed, bounds, optimum, total, expand=True) for seed in seeds]
    plain = [simulate(seed, bounds, optimum, total, expand=False) for seed in seeds]
    shares = [np.mean([run.within(2, optimum) for run in runs]) for runs in (plain, grown)]
    growths = [len(run.expansions) for run in grown]
    return (
        f"{bounds:<14} {optimum:<8g} {total:>6}   {100 * shares[0]:>4.0f} %   {100 * shares[1]:>4.0f} %   "
        f"{100 * np.mean([count > 0 for count in growths]):>4.0f} %   {np.mean(growths):.2f}"
    )


def main() -> None:
    """Prints, for several ranges and optima, how often the best is near, and how often a range grew."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
    print(f"{len(seeds)} studies a row; best learning rate within a factor of 2 of the optimum")
    print("range          optimum  trials   as is    --expand   grew     growths a study")
    cases = (("1e-4..2e-4", 4.5e-3), ("4.6e-4..9.2e-4", 4.5e-3), ("1e-4..2e-4", 5e-6), ("1e-4..2e-4", 1e-3))
    for bounds, optimum in cases:
        for total in (12, 24):
            print(_row(bounds, optimum, total, seeds), flush=True)
    print("optimum inside")
    for bounds, optimum in (("1e-5..1e-2", 1e-3), ("1e-4..2e-3", 1e-3), ("1e-4..2e-4", 1.4e-4)):
        print(_row(bounds, optimum, 24, seeds), flush=True)


if __name__ == "__main__":
    main()
