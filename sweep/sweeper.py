"""A whole sweep: checks what was asked, loads, makes or reopens the study, searches, and says what came of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from spaces.space import SearchSpace
from sweep import header
from sweep.advisor import make_advisor
from sweep.artifacts import Artifacts
from sweep.asked import Asked, Prepared, check, make_design, worker_setup
from sweep.batch_split import batch_limit, batch_notes
from sweep.board import Board
from sweep.checks import faults
from sweep.claims import tally
from sweep.data_checks import data_checks
from sweep.design import Cell, Design
from sweep.devices import asked_trials
from sweep.enqueuing import enqueue_missing
from sweep.errors import EnvironmentFault, SweepError, TrialInterrupted
from sweep.expanding import expanded, make_expander, recorded, summarised
from sweep.faults import explained
from sweep.launchers.base import Grounds, Launcher
from sweep.launchers.registry import find_launcher
from sweep.machine import MACHINE, Machine, moved_notes, this_machine
from sweep.memory import Memory
from sweep.memory_notes import memory_notes
from sweep.new_database import new_database, put_new
from sweep.objective import Session, clean_up
from sweep.options import SweepOptions
from sweep.packing import packing_note, trials_at_once
from sweep.plan import Plan, drop_idle_epochs, ranges
from sweep.progress import make_progress
from sweep.pruners import PRUNERS, START_LOSS, TrendPromotion
from sweep.quantization import quantization_note
from sweep.recovery import put_back_interrupted, put_back_own
from sweep.results import Results
from sweep.samplers import SeededTPE
from sweep.say import say
from sweep.scaling import Scaling, scale_learning_rate, usual_learning_rate
from sweep.schedule_checks import space_checks
from sweep.searching import Search, parked_count, unpark
from sweep.shared import share
from sweep.stopping import FailureWatch, stop_on_signals
from sweep.storage import open_storage
from sweep.study import (
    FROM,
    SOURCE,
    Identity,
    check_identity,
    create_study,
    finished_trials,
    free_name,
    start_loss,
    stored_identity,
)
from sweep.sweep_storage import SweepStorage
from sweep.trial_files import study_folder
from trials.protocol import Ready


@dataclass(frozen=True)
class Outcome:
    """How a sweep ended.

    Attributes:
        study_name: The study's name, which `--force` may have chosen.
        finished: Trials that count, all sessions together.
        total: Finished trials that it is to have.
        complete: How many of those are complete.
        saved: Trials that were saved to be continued.
        interrupted: Whether the user stopped it.
    """

    study_name: str
    finished: int
    total: int
    complete: int
    saved: int
    interrupted: bool


def run_sweep(options: SweepOptions, console: Console, prepared: Prepared | None = None) -> Outcome:
    """Runs or continues a sweep until its study has `n_trials` finished trials, or the user stops it.

    Nothing is written to the storage before space, data, model and devices are known to be good.

    Args:
        options: What is asked for.
        console: Where it is told.
        prepared: What to run when it is not the options' space.

    Raises:
        SweepError: Something asked for cannot be; also when trial after trial fails.
        SpaceError: The space, or a knob that was set, is wrong.
    """
    asked = check(options, prepared)
    options = replace(options, n_trials=asked.total, pruner=asked.pruner)
    say(console, [header.loading(options, asked.slots, asked.start)], indent=header.INDENT)
    setup = worker_setup(options, asked.space, asked.budget, asked.start)
    measured = asked_trials(options.trials_per_gpu) is None
    setup = replace(setup, start_loss=asked.pruner in START_LOSS, busy_tokens=measured)
    grounds = Grounds(
        study_folder(options.output, asked.study_name).absolute(),
        lambda line: say(console, [line], indent=header.INDENT),
    )
    launcher = find_launcher(options.launcher).launch(setup, asked.slots, options, grounds)
    try:
        with explained(options.storage):
            return _run(options, asked, launcher, new_database(), console)
    finally:
        launcher.close()


def _run(options: SweepOptions, asked: Asked, launcher: Launcher, database: bytes, console: Console) -> Outcome:
    """The part of a sweep that has workers; `database` is a new one, for a STORAGE that is not there."""
    ready = launcher.ready()
    asked = _pack(options, asked, ready, launcher)
    scaling, design, plan, notes = _fit(options, asked, ready)
    put_new(database, options.storage)
    storage = open_storage(options.storage, create=True)
    identity = Identity.of(asked.design.space, asked.budget, options.seed, ready, scaling, design.kind)
    study = _open_study(options, asked, storage, identity, design.space)
    machine = this_machine(ready)
    notes += moved_notes(study, machine)
    _remember(study, options, asked, ready, machine)
    memory = Memory.of(study, ready.device.kind)
    plan = replace(plan, memory_ratio=memory.ratio)
    launcher.narrow(memory.limits)
    cells = design.cells_in(plan.space)[: asked.total]
    sampler = SeededTPE(options.seed, asked.total)
    grown = recorded(study)
    if grown:
        plan = replace(plan, space=expanded(plan.space, grown))
        sampler.ranges = ranges(plan.space)
    study.sampler = sampler
    study.pruner = PRUNERS[asked.pruner](asked.budget.evaluations)
    results = Results(storage.engine, study.study_name, storage.patience)
    waiting = put_back_interrupted(study)
    results.close_failed(trial.number for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)))
    notes += memory_notes(plan, memory)
    notes += [f"{knob} has {told}" for knob, told in summarised(grown).items()]
    told = _header(options, asked, plan, study, notes, len(waiting))
    say(console, [*told, *header.design_lines(design)], indent=header.INDENT)
    with make_progress(console, launcher.slots) as progress:
        storage.patience.say = progress.say
        artifacts = Artifacts(options.output, options.artifacts, progress.say)
        board = Board(study, storage)
        shared = share(artifacts, study, results, options.keep_adapters)
        session = Session(
            plan=plan,
            launcher=launcher,
            results=results,
            artifacts=artifacts,
            progress=progress,
            output=options.output,
            total=asked.total,
            keep_adapters=options.keep_adapters,
            audit=options.audit,
            memory=memory,
            shared=shared,
            show=board.moved,
        )
        with stop_on_signals(session, storage.patience.end):
            try:
                _search(session, study, cells, _callbacks(session, options))
            except TrialInterrupted:
                pass
            except (EnvironmentFault, SweepError):
                launcher.close()
                put_back_own(study)  # those that were not to blame
                raise
            finally:
                launcher.close()
            saved = put_back_own(study)
            board.finish()
    return _outcome(study, session, len(saved))


def _header(
    options: SweepOptions, asked: Asked, plan: Plan, study: optuna.Study, notes: Sequence[str], waiting: int
) -> list[str]:
    """What is said before the first trial of a session."""
    return header.lines(
        plan,
        options,
        study.study_name,
        asked.slots,
        done=len(finished_trials(study)),
        waiting=waiting,
        parked=parked_count(study),
        notes=notes,
        start=asked.start,
    )


def _outcome(study: optuna.Study, session: Session, saved: int) -> Outcome:
    finished = finished_trials(study)
    return Outcome(
        study_name=study.study_name,
        finished=len(finished),
        total=session.total,
        complete=sum(trial.state == TrialState.COMPLETE for trial in finished),
        saved=saved,
        interrupted=session.stopping.is_set(),
    )


def _pack(options: SweepOptions, asked: Asked, ready: Ready, launcher: Launcher) -> Asked:
    """Lets as many trials share a GPU as keep it busy, where the number was not asked for."""
    if ready.busy_tokens is None:
        return asked
    limit = batch_limit(ready.model, ready.device, asked.budget.cutoff_len, asked=options.per_device_train_batch_size)
    trials = trials_at_once(ready, limit, asked.space, asked.total // len(asked.slots))
    launcher.widen(trials)
    return replace(asked, slots=[replace(slot, trials=trials) for slot in asked.slots])


def _fit(options: SweepOptions, asked: Asked, ready: Ready) -> tuple[Scaling, Design, Plan, list[str]]:
    """Fits what was asked for to the model, data and device: learning rates, design, plan, and what to tell of it."""
    scaling = Scaling(asked.plain)
    if asked.may_scale:
        scaling = scale_learning_rate(asked.plain, options.scale_lr, ready.model)
    design = asked.design if scaling.space is asked.plain else make_design(options, scaling.space)
    space, idle = drop_idle_epochs(design.space, asked.budget, int(str(ready.data["train_rows"])))
    plan = Plan(
        space=space,
        budget=asked.budget,
        ready=ready,
        seed=options.seed,
        early_stopping_patience=options.early_stopping_patience,
        sharing=sum(slot.trials for slot in asked.slots) // len({slot.device for slot in asked.slots}),
        rows_at_once=options.per_device_train_batch_size,
    )
    plan.check_targets()
    memory_notes(plan, Memory())  # fails before a study is made
    packing = packing_note(asked.slots[0].trials, ready) if ready.busy_tokens else ""
    notes = [note for note in (scaling.note, idle, quantization_note(ready.model), packing) if note]
    notes += [*batch_notes(plan.batch_limit, space), *faults([*data_checks(ready.data), *space_checks(plan)])]
    return replace(scaling, space=design.space), design, plan, notes


def _remember(study: optuna.Study, options: SweepOptions, asked: Asked, ready: Ready, machine: Machine) -> None:
    """Keeps with the study what it was asked for by: what exports and hints refer to."""
    source = {
        "space": options.space,
        "model": options.model,
        "dataset": options.dataset,
        "form": ready.data["form"],
        "rows": ready.data["rows_read"],
        "dtype": ready.model.dtype,
        "device": ready.device.name,
        "usual_learning_rate": usual_learning_rate(ready.model),
        "expand": options.expand,
        "advisor": options.advisor,
        "start_loss": start_loss(study) if ready.start_loss is None else ready.start_loss,
        FROM: asked.start.origin.to_dict() if asked.start else None,
    }
    for key, value in {SOURCE: source, MACHINE: machine.to_dict(), **asked.attributes}.items():
        study.set_user_attr(key, value)


def _open_study(
    options: SweepOptions, asked: Asked, storage: SweepStorage, identity: Identity, space: SearchSpace
) -> optuna.Study:
    """The study of that name if it is of the same, a new one else."""
    name = asked.study_name
    exists, stored = stored_identity(storage, name)
    if exists and options.force and (stored is None or identity.differences(stored)):
        name, exists = free_name(storage, name), False
    if not exists:
        try:
            return create_study(storage, name, identity, space)
        except DuplicatedStudyError:  # another machine, at the same time
            _, stored = stored_identity(storage, name)
    check_identity(name, stored, identity)
    return optuna.load_study(study_name=name, storage=storage)


# What Optuna calls when a trial has ended; without a trial before the first one, for those of earlier sessions.
Callback = Callable[[optuna.Study, FrozenTrial | None], None]


def _callbacks(session: Session, options: SweepOptions) -> list[Callback]:
    """What looks at a search's trials as they end, and has others tried."""
    return [
        *([make_expander(session)] if options.expand else []),
        *([make_advisor(session)] if options.advisor else []),
    ]


def _search(session: Session, study: optuna.Study, cells: Sequence[Cell], searching: Sequence[Callback]) -> None:
    """Has Optuna run trials until the study's total is reached, or every cell of its design is run.

    Rounds, because a failed cell of a design is tried again. Other machines may be at it too: what each begins is
    settled in the database (`sweep.claims`), and nobody leaves before all have ended, since one may be lost.

    Args:
        session: What the trials share.
        study: Optuna's.
        cells: A design's cells; none for a search.
        searching: What has other trials tried; a design's are settled.
    """
    watch = FailureWatch()
    callbacks: list[Callable[[optuna.Study, FrozenTrial], None]] = [watch, clean_up(session)]
    if not cells:
        for callback in searching:
            callback(study, None)
        callbacks += searching
    search = Search(session, study, callbacks, watch.hopeless, draw=not cells)
    while not session.stopping.is_set():
        if not isinstance(study.pruner, TrendPromotion):
            unpark(study)
        if len(finished_trials(study)) >= session.total:
            return
        if cells and not enqueue_missing(study, cells) and not tally(study).elsewhere:
            return
        search.run(session.total)
        watch.raise_if_hopeless()
