"""One trial on a few rows that must learn them by heart; if it does not, the data pipeline is at fault (guide 2.4).

It runs as a sweep's trials do, in a worker process, but with no study and no database, and leaves nothing behind.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from spaces.space import SearchSpace
from sweep.asked import asked_budget, asked_slots, asked_space, worker_setup
from sweep.batch_split import BATCH
from sweep.budget import REFERENCE_BATCH, Budget
from sweep.checks import Check
from sweep.data_checks import data_checks
from sweep.design import starting_point
from sweep.devices import Slot
from sweep.errors import SweepError, TrialFailed, WorkerDied
from sweep.launchers.base import Launcher
from sweep.options import SweepOptions
from sweep.plan import Plan
from sweep.scaling import may_scale, scale_learning_rate
from sweep.schedule_checks import schedule_check
from trials.config import TrialConfig
from trials.protocol import Ready, WorkerSetup
from trials.remedies import PROBING
from trials.report import Report

# Guide 2.4: "a tiny subset (100-200 samples, 3-5 epochs)". The fewest rows: a CPU is slow.
ROWS = 100
PASSES = 4
# Rows that are not trained on: what falls on them too is not learnt by heart.
HELD_OUT = 8
# Optimizer steps of a pass at least: where rows are few, the batch is smaller than the space's.
STEPS_A_PASS = 6

MakeLauncher = Callable[[WorkerSetup, Sequence[Slot]], Launcher]


@dataclass(frozen=True)
class Asked:
    """What is known before anything is loaded.

    Attributes:
        space: With the knobs that were set.
        budget: The trial's.
        slot: Where it runs.
        options: What was asked for, with the rows of a sanity test.
    """

    space: SearchSpace
    budget: Budget
    slot: Slot
    options: SweepOptions


@dataclass(frozen=True)
class Trial:
    """The trial that is about to run.

    Attributes:
        plan: Model, data, device and space.
        config: The trial's settings.
        usual_rate: The learning rate before it was raised.
        checks: What was found before the trial.
    """

    plan: Plan
    config: TrialConfig
    usual_rate: float
    checks: list[Check]


def check(options: SweepOptions) -> Asked:
    """Everything that can be found wrong without loading a model.

    Raises:
        SweepError: Something asked for cannot be.
        SpaceError: The space, or a knob that was set, is wrong.
    """
    space = asked_space(options)
    options = replace(options, max_samples=ROWS, val_size=HELD_OUT, trials_per_gpu="1")
    slots = asked_slots(options)
    budget = replace(asked_budget(options, space, slots), evaluations=PASSES)
    return Asked(space, budget, slots[0], options)


def launch(asked: Asked, make_launcher: MakeLauncher) -> Launcher:
    """Starts the trial's worker."""
    return make_launcher(worker_setup(asked.options, asked.space, asked.budget), [asked.slot])


def prepare(asked: Asked, ready: Ready) -> Trial:
    """The trial of the space's starting point, its learning rate raised as the guide has it (2.4)."""
    options, space = asked.options, asked.space
    if may_scale(options.scale_lr, options.space, options.assignments):
        space = scale_learning_rate(space, options.scale_lr, ready.model).space
    plan = Plan(
        space=space,
        budget=asked.budget,
        ready=ready,
        seed=options.seed,
        early_stopping_patience=0,
        rows_at_once=options.per_device_train_batch_size,
    )
    point = starting_point(space)
    params = space.walk(lambda parameter: point[parameter.name])
    batch = min(int(params.get(BATCH, REFERENCE_BATCH)), max(1, plan.train_rows // STEPS_A_PASS))
    usual = plan.config(params | {BATCH: batch, "num_train_epochs": PASSES, "early_stopping_patience": 0})
    config = replace(usual, learning_rate=float(f"{PROBING * usual.learning_rate:.3g}"))
    checks = [*data_checks(ready.data), schedule_check(config, plan.train_rows)]
    return Trial(plan, config, usual.learning_rate, checks)


def train(trial: Trial, launcher: Launcher) -> Iterator[Report]:
    """Trains, and gives a report at the end of each pass.

    Raises:
        SweepError: The training broke.
    """
    with TemporaryDirectory(prefix="lora-sweep-sanity-") as folder:
        try:
            with closing(launcher.start(trial.config, Path(folder), lambda moved: None)) as run:
                yield from run
        except (TrialFailed, WorkerDied) as error:
            raise SweepError(f"the trial failed: {error}\n{error.detail}".rstrip()) from error
