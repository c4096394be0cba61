"""Whether remedies find good settings sooner than the sampler alone: `make bench-advice`.

No training: a trial's curve is drawn between the two recorded runs (`record_advice`) whose learning rates are next to
its own, all else being equal. Space, sampler, pruner, diagnosis, advisor and Optuna are the real ones. Both searches of
a pair have the same seed, and differ only in the advisor.
"""

import argparse
import io
import json
import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import sqlalchemy as sa
from rich.console import Console

from spaces.space import SearchSpace
from sweep.advice import advice_of
from sweep.advice_words import advice_words
from sweep.advisor import make_advisor
from sweep.artifacts import Artifacts
from sweep.contenders import HORIZON
from sweep.objective import Session
from sweep.plan import suggest
from sweep.progress import PlainProgress
from sweep.pruners import TrendPruner
from sweep.results import Results, metadata
from sweep.samplers import SeededTPE
from sweep.trial_diagnosis import diagnose_trial
from tests.benchmarks.advice_grid import BATCHES, CURVES, RANKS, RATES, RATIOS, TASKS, config
from tests.sweep.fakes import FakeLauncher, make_plan, make_space
from trials.curve import LearningCurve
from trials.logged import EvaluationPoint, LoggedCurve, TrainingPoint
from trials.report import Report

# The highest rate that is usual for the tiny model, as a study reckons it (`sweep.scaling`): it is 128 wide.
USUAL_RATE = 2e-4 * (4096 / 128) ** 0.78
NOISE = 0.01  # nats, of a trial that is run again
NEAR = 0.01  # "within 1 %" of the best known loss
TOTAL = 30  # trials a study; one that gets near later counts as one more
# Where the search begins: all rates that were recorded, and two parts of them that the best rate is at the edge of.
RANGES = {"all": (RATES[0], RATES[-1]), "too low": (RATES[0], 5e-3), "too high": (5e-3, RATES[-1])}


@dataclass(frozen=True)
class Run:
    """A run's losses.

    Attributes:
        training: In nats per token, one a step.
        steps: Those after which it was evaluated.
        evaluation: In nats per token, one for each of those.
    """

    training: Sequence[float]
    steps: Sequence[int]
    evaluation: Sequence[float]

    @property
    def whole(self) -> bool:
        """Whether all its losses are finite."""
        return all(map(math.isfinite, [*self.training, *self.evaluation]))


Recorded = Mapping[tuple[Any, ...], Mapping[float, Run]]


def read(path: Path = CURVES) -> dict[str, Recorded]:
    """Recorded runs by task, by the knobs but for the learning rate, and by the learning rate."""
    found: dict[str, dict[tuple[Any, ...], dict[float, Run]]] = {}
    for line in map(json.loads, path.read_text(encoding="utf8").splitlines()):
        knobs = dict(line["knobs"])
        rate = knobs.pop("learning_rate")
        steps, losses = zip(*line["evaluation"], strict=True)
        found.setdefault(line["task"], {}).setdefault(tuple(knobs.values()), {})[rate] = Run(
            line["training"], steps, losses
        )
    return dict(found)


def run_at(recorded: Recorded, params: Mapping[str, Any]) -> Run:
    """A trial's losses.

    Between two recorded rates losses are interpolated in the rate's logarithm; next to a run that was lost, the nearer
    one is taken.
    """
    runs = recorded[params["lora_rank"], params["alpha_ratio"], params["effective_batch_size"]]
    rate = params["learning_rate"]
    below = max((other for other in runs if other <= rate), default=min(runs))
    above = min((other for other in runs if other >= rate), default=max(runs))
    if below == above:
        return runs[below]
    share = math.log(rate / below) / math.log(above / below)
    low, high = runs[below], runs[above]
    if not (low.whole and high.whole and low.steps == high.steps):
        return low if share < 0.5 else high
    training, evaluation = (
        ((1 - share) * np.array(one) + share * np.array(other)).tolist()
        for one, other in ((low.training, high.training), (low.evaluation, high.evaluation))
    )
    return Run(training, low.steps, evaluation)


def best_known(recorded: Recorded, bounds: tuple[float, float]) -> float:
    """The lowest recorded evaluation loss whose learning rate is in a range."""
    return min(
        loss
        for runs in recorded.values()
        for rate, run in runs.items()
        if bounds[0] <= rate <= bounds[1]
        for loss in run.evaluation
        if math.isfinite(loss)
    )


def make_search_space(bounds: tuple[float, float]) -> SearchSpace:
    """The recorded grid as a space, with the learning rate continuous."""
    return make_space(f"""
stage: sft
fixed: {{lora_target: attention, warmup_ratio: 0.1, lr_scheduler_type: cosine}}
search:
  learning_rate: {{float: [{bounds[0]}, {bounds[1]}], log: true}}
  lora_rank: {{choice: {list(RANKS)}}}
  alpha_ratio: {{choice: {list(RATIOS)}}}
  effective_batch_size: {{choice: {list(BATCHES)}}}
derived: {{lora_alpha: lora_rank * alpha_ratio}}
""")


@dataclass(frozen=True)
class Searched:
    """How a study went.

    Attributes:
        trials: Trials until a complete one was near the best known loss; one more than there were if none was.
        rows: Training rows until then, in thousands; all that were spent if none was.
        advised: Trials that tried a remedy.
        helped: What is said of those.
    """

    trials: int
    rows: float
    advised: int
    helped: str


def make_objective(session: Session, task: str, recorded: Recorded, seed: int) -> Callable[[optuna.Trial], float]:
    """A trial that plays its run, can be pruned, and is diagnosed when it ends."""

    def objective(trial: optuna.Trial) -> float:
        params = session.plan.space.walk(lambda knob: suggest(trial, knob))
        run, settings = run_at(recorded, params), config(task, params)
        shift = np.random.default_rng([seed, trial.number]).normal(0, NOISE)
        trial.set_user_attr(HORIZON, len(run.steps))
        reports: list[Report] = []
        try:
            for report in _reports(run, shift):
                reports.append(report)
                if LearningCurve(reports).divergence():
                    raise optuna.TrialPruned
                trial.report(report.eval_loss, report.evaluation)
                if trial.should_prune():
                    raise optuna.TrialPruned
        finally:
            trial.set_user_attr("rows", reports[-1].step * params["effective_batch_size"])
            diagnosis = diagnose_trial(LearningCurve(reports), settings, USUAL_RATE, _logged(run, reports))
            if diagnosis is not None:
                session.results.diagnosed(trial.number, diagnosis)
        return min(report.eval_loss for report in reports)

    return objective


def _reports(run: Run, shift: float) -> Iterator[Report]:
    before, total = 0, len(run.steps)
    for number, (step, loss) in enumerate(zip(run.steps, run.evaluation, strict=True), start=1):
        train_loss = statistics.mean(run.training[before:step])
        yield Report(number, total, step, run.steps[-1], 0, number / total, train_loss, loss + shift, 1e-3, 1.0, 0.0, 0)
        before = step


def _logged(run: Run, reports: Sequence[Report]) -> LoggedCurve:
    """A trial's log: a line a step, and one an evaluation."""
    last = reports[-1].step
    evaluations = tuple(EvaluationPoint(report.step, None, report.eval_loss) for report in reports)
    training = tuple(
        TrainingPoint(step, step / run.steps[-1], loss) for step, loss in enumerate(run.training[:last], start=1)
    )
    return LoggedCurve(training, {"": evaluations}, run.steps[-1])


def search(
    task: str, recorded: Recorded, bounds: tuple[float, float], seed: int, *, advisor: bool, total: int = TOTAL
) -> Searched:
    """Runs a study of `total` trials."""
    engine, nowhere = sa.create_engine("sqlite://"), Path("nowhere")
    metadata.create_all(engine)
    session = Session(
        plan=make_plan(make_search_space(bounds)),
        launcher=FakeLauncher([]),
        results=Results(engine, "demo"),
        artifacts=Artifacts.__new__(Artifacts),
        progress=PlainProgress(Console(file=io.StringIO())),
        output=nowhere,
        total=total,
        keep_adapters=1,
    )
    evaluations = TASKS[task][2]
    study = optuna.create_study(sampler=SeededTPE(seed, total), pruner=TrendPruner(evaluations, 1))
    callbacks = [make_advisor(session)] if advisor else []
    study.optimize(make_objective(session, task, recorded, seed), n_trials=total, callbacks=callbacks)
    good = best_known(recorded, bounds) * (1 + NEAR)
    near = [t.number for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE and (t.value or 0) <= good]
    first = near[0] if near else total
    rows = sum(trial.user_attrs.get("rows", 0) for trial in study.trials[: first + 1]) / 1000
    advised = sum(advice_of(trial) is not None for trial in study.trials[:total])
    return Searched(first + 1, rows, advised, advice_words(study.trials).splitlines()[0] if advised else "")


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """A bootstrap's 95 % interval of the mean."""
    draws = np.random.default_rng(0).choice(differences, (2000, len(differences))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return float(low), float(high)


def main() -> None:
    """Prints, for each task and range, how soon both searches are near the best known loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=40, help="pairs of studies a row")
    parser.add_argument("--first-seed", type=int, default=0, help="the first pair's; the others follow")
    parser.add_argument("--told", action="store_true", help="print how often remedies helped, study by study")
    asked = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"{asked.studies} pairs of studies of {TOTAL} trials a row; until one is within {NEAR:.0%} of the best known")
    print("task    range     trials: TPE   with advice   difference (95 %)      rows saved   advised")
    for task, recorded in read().items():
        for name, bounds in RANGES.items():
            pairs = [
                [search(task, recorded, bounds, seed, advisor=advisor) for advisor in (False, True)]
                for seed in range(asked.first_seed, asked.first_seed + asked.studies)
            ]
            plain, advised = ([pair[place] for pair in pairs] for place in (0, 1))
            trials = [after.trials - before.trials for before, after in pairs]
            low, high = interval(trials)
            saved = 1 - sum(run.rows for run in advised) / sum(run.rows for run in plain)
            means = [statistics.mean(run.trials for run in runs) for runs in (plain, advised)]
            print(
                f"{task:<7} {name:<9} {means[0]:>11.1f} {means[1]:>13.1f}   {statistics.mean(trials):+.1f} "
                f"[{low:+.1f}, {high:+.1f}] {saved:>16.0%} {statistics.mean(run.advised for run in advised):>9.1f}",
                flush=True,
            )
            if asked.told:
                print(*(f"    {run.helped}" for run in advised if run.helped), sep="\n")


if __name__ == "__main__":
    main()
