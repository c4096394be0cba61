"""A whole sweep: checks what was asked, loads, makes or reopens the study, searches, and says what came of it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import optuna
import psutil
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from spaces.load import load_space
from spaces.space import SearchSpace
from sweep import header
from sweep.artifacts import Artifacts
from sweep.budget import REFERENCE_BATCH, Budget, make_budget
from sweep.devices import Slot, list_gpus, plan_slots
from sweep.errors import SweepError, TrialFailed, TrialInterrupted, WorkerDied
from sweep.faults import explained
from sweep.launchers.base import Launcher
from sweep.launchers.local import LocalLauncher
from sweep.objective import Session, clean_up, make_objective
from sweep.options import SweepOptions
from sweep.plan import BATCH, KNOBS, Plan, check_searched, drop_idle_epochs
from sweep.progress import make_progress
from sweep.pruners import PRUNERS
from sweep.recovery import put_back_interrupted, put_back_own
from sweep.results import Results
from sweep.samplers import SeededTPE
from sweep.say import say
from sweep.storage import check_storage, database_exists, open_storage
from sweep.study import (
    SOURCE,
    Identity,
    check_identity,
    create_study,
    finished_trials,
    free_name,
    stored_identity,
)
from sweep.version import __version__
from trials.paths import cache_dir
from trials.protocol import WorkerSetup

# Failures in a row after which the next trial would only fail too.
MOST_FAILURES_IN_A_ROW = 3


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended.

    Attributes:
        study_name: The study's name, which `--force` may have chosen.
        finished: Trials that count, all sessions together.
        saved: Trials that were saved to be continued.
        interrupted: Whether the user stopped it.
    """

    study_name: str
    finished: int
    saved: int
    interrupted: bool


@dataclass(frozen=True)
class _Asked:
    """What is known before anything is loaded."""

    space: SearchSpace
    budget: Budget
    study_name: str
    exists: bool
    slots: list[Slot]


def run_sweep(options: SweepOptions, console: Console) -> Outcome:
    """Runs or continues a sweep until its study has `n_trials` finished trials, or the user stops it.

    Nothing is written to the storage before space, data, model and devices are known to be good.

    Raises:
        SweepError: Something asked for cannot be; also when trial after trial fails.
        SpaceError: The space, or a knob that was set, is wrong.
    """
    asked = _check(options)
    say(console, [header.loading(options, asked.slots)], indent=header.INDENT)
    setup = _worker_setup(options, asked)
    launcher = LocalLauncher(setup, asked.slots)
    try:
        return _run(options, asked, launcher, console)
    finally:
        launcher.close()


def _check(options: SweepOptions) -> _Asked:
    """Everything that can be found wrong without loading a model."""
    if options.pruner not in PRUNERS:
        raise SweepError(f"pruner is {options.pruner!r}; allowed: {', '.join(PRUNERS)}")
    space = load_space(options.space).override(options.assignments, allowed=KNOBS)
    space.check_fields(KNOBS)
    check_searched(space)
    slots = plan_slots(
        options.gpus,
        options.gpus_per_trial,
        options.trials_per_gpu,
        present=list_gpus(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        free_bytes=psutil.virtual_memory().available,
    )
    check_storage(options.storage)
    name = options.study or space.name
    exists, stored = _stored(options.storage, name)
    fixed = space.fixed
    budget = make_budget(
        on_gpu=bool(slots[0].gpus),
        stored=stored["budget"] if stored and stored["code"] == __version__ and not options.force else None,
        max_steps=options.max_steps,
        max_samples=options.max_samples,
        val_size=options.val_size,
        cutoff_len=int(fixed.get("cutoff_len", 1024)),  # type: ignore[arg-type]
        cutoff_asked=any(text.split("=")[0].strip() == "cutoff_len" for text in options.assignments),
        batch=int(fixed.get(BATCH, REFERENCE_BATCH)),  # type: ignore[arg-type]
    )
    if exists and not options.force:
        check_identity(name, stored, Identity.of(space, budget, options.seed))
    return _Asked(space, budget, name, exists, slots)


def _stored(storage: str, name: str) -> tuple[bool, dict[str, Any] | None]:
    if not database_exists(storage):
        return False, None
    return stored_identity(open_storage(storage, create=False), name)


def _worker_setup(options: SweepOptions, asked: _Asked) -> WorkerSetup:
    return WorkerSetup(
        model=options.model,
        dataset=options.dataset,
        stage=asked.space.stage,
        cutoff_len=asked.budget.cutoff_len,
        max_samples=asked.budget.max_samples,
        val_size=asked.budget.val_size,
        seed=options.seed,
        dtype=options.dtype,
        threads=0,
        trust_remote_code=options.trust_remote_code,
        cache_dir=cache_dir(),
    )


def _run(options: SweepOptions, asked: _Asked, launcher: Launcher, console: Console) -> Outcome:
    """The part of a sweep that has workers."""
    ready = launcher.ready()
    train_rows = int(str(ready.data["train_rows"]))
    space, note = drop_idle_epochs(asked.space, asked.budget, train_rows)
    sharing = len(asked.slots) // len({slot.gpus for slot in asked.slots})
    plan = Plan(space, asked.budget, ready, options.seed, options.early_stopping_patience, sharing)
    plan.check_targets()
    storage = open_storage(options.storage, create=True)
    study = _open_study(options, asked, storage, Identity.of(asked.space, asked.budget, options.seed, ready))
    study.set_user_attr(
        SOURCE,
        {
            "space": options.space,
            "model": options.model,
            "dataset": options.dataset,
            "form": ready.data["form"],
            "rows": ready.data["rows_read"],
            "dtype": ready.model.dtype,
            "device": ready.device.name,
        },
    )
    study.sampler = SeededTPE(options.seed, options.n_trials)
    study.pruner = PRUNERS[options.pruner](asked.budget.evaluations)
    results = Results(storage.engine, study.study_name)
    waiting = put_back_interrupted(study)
    results.close_failed(trial.number for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)))
    done = len(finished_trials(study))
    told = header.lines(plan, options, study.study_name, asked.slots, done=done, waiting=len(waiting), note=note)
    say(console, told, indent=header.INDENT)
    with make_progress(console, launcher.slots) as progress:
        session = Session(
            plan=plan,
            launcher=launcher,
            results=results,
            artifacts=Artifacts(options.output),
            progress=progress,
            output=options.output,
            total=options.n_trials,
            keep_adapters=options.keep_adapters,
        )
        with _stop_on_signals(session), explained(options.storage):
            try:
                _search(session, study)
            except TrialInterrupted:
                pass
            finally:
                launcher.close()
            saved = put_back_own(study)
    return Outcome(study.study_name, len(finished_trials(study)), len(saved), session.stopping.is_set())


def _open_study(options: SweepOptions, asked: _Asked, storage: RDBStorage, identity: Identity) -> optuna.Study:
    """The study of that name if it is of the same, a new one else."""
    name = asked.study_name
    exists, stored = stored_identity(storage, name)
    if exists and options.force and (stored is None or identity.differences(stored)):
        name, exists = free_name(storage, name), False
    if not exists:
        return create_study(storage, name, identity, asked.space)
    check_identity(name, stored, identity)
    return optuna.load_study(study_name=name, storage=storage)


def _search(session: Session, study: optuna.Study) -> None:
    """Has Optuna run trials until the study's total is reached.

    Rounds, because a failed trial, and one that a constraint ruled out, does not count.
    """
    objective, watch = make_objective(session), _FailureWatch()
    while not session.stopping.is_set():
        left = session.total - len(finished_trials(study))
        if left <= 0:
            return
        study.optimize(
            objective,
            n_trials=left,
            n_jobs=min(session.launcher.slots, left),
            catch=(TrialFailed, WorkerDied),
            callbacks=[watch, clean_up(session.output)],
        )
        watch.raise_if_hopeless()


class _FailureWatch:
    """Ends a sweep whose trials fail one after the other."""

    def __init__(self) -> None:
        self._in_a_row: list[FrozenTrial] = []
        self._lock = threading.Lock()

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        with self._lock:
            self._in_a_row = [*self._in_a_row, trial] if trial.state == TrialState.FAIL else []
            if len(self._in_a_row) >= MOST_FAILURES_IN_A_ROW:
                study.stop()

    def raise_if_hopeless(self) -> None:
        if len(self._in_a_row) >= MOST_FAILURES_IN_A_ROW:
            numbers = ", ".join(str(trial.number) for trial in self._in_a_row)
            reason = self._in_a_row[-1].user_attrs.get("reason") or "no reason was recorded"
            raise SweepError(f"trials {numbers} failed one after the other; the last: {reason}\n{HELP_FAILED}")


HELP_FAILED = "What finished is recorded. `sweep show` lists the reasons; the same line again goes on."


@contextmanager
def _stop_on_signals(session: Session) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) saves the running trials, a second one stops at once."""

    def stop() -> None:
        if session.stopping.is_set():
            session.launcher.close()
            return
        session.stop()
        session.progress.say("stopping: running trials save at their next evaluation (again to stop now)")

    def handle(_signal: int, _frame: object) -> None:
        # In a thread of its own: the handler interrupts the main thread, which may hold a lock that it needs.
        threading.Thread(target=stop).start()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
