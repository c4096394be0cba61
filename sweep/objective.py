"""One trial of a study, from its parameters to its value: what Optuna calls for each."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from socket import gethostname
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from sweep.afterwards import Afterwards
from sweep.artifacts import Artifacts
from sweep.attempts import Attempts
from sweep.contenders import HORIZON, PROGRESS, START, WARMUP
from sweep.errors import (
    EnvironmentFault,
    SweepError,
    TrialFailed,
    TrialInterrupted,
    TrialLost,
    TrialParked,
    WorkerDied,
)
from sweep.faults import MENDED
from sweep.follow import Ending, Follower
from sweep.judging import Judge
from sweep.launchers.base import Launcher, Run
from sweep.memory import Memory
from sweep.plan import Plan, suggest
from sweep.progress import Progress, StudyView, TrialView
from sweep.recovery import first_number, lost_numbers
from sweep.results import Results, target_name
from sweep.scaling import usual_learning_rate
from sweep.shared import SharedTrials
from sweep.study import finished_trials
from sweep.trial_diagnosis import diagnose_trial, logged_curve
from sweep.trial_files import delete_checkpoints, delete_losing_adapters, read_config, trial_folder, write_config
from sweep.untrained import check_constraints, check_memory
from trials.config import TrialConfig
from trials.failure import FailureClass
from trials.protocol import Moved
from trials.schedule import learning_progress, report_steps, warmup_steps

# The trial's user attribute that says what its curve shows.
DIAGNOSIS = "diagnosis"
# The one that says what class of failure ended it, `trials.failure.FailureClass`; absent where none did.
FAILURE = "failure"


@dataclass
class Session:
    """What the trials of one sweep share.

    Attributes:
        plan: What every trial has in common.
        launcher: Where trials run.
        results: Our own tables.
        artifacts: What the dashboard shows.
        progress: What the user sees.
        output: The folder of all studies.
        total: N_TRIALS.
        keep_adapters: Adapters that are kept: those of the best so many trials.
        audit: Share of the condemned trials that run on all the same.
        to_begin: Trials that are still to be begun.
        memory: What is known of the device's.
        shared: Where other machines find the trials' states and adapters; None without a store that they reach.
        lost: Trials of this process that another machine has now.
        show: Called after a trial has ended, to keep up to date what the dashboard shows of the study.
        stopping: Set when no trial should begin or be tried again.
        afterwards: Does what no next trial should wait for.
    """

    plan: Plan
    launcher: Launcher
    results: Results
    artifacts: Artifacts
    progress: Progress
    output: Path
    total: int
    keep_adapters: int
    audit: float = 0.0
    to_begin: int = 0
    memory: Memory = field(default_factory=Memory)
    shared: SharedTrials | None = None
    lost: set[int] = field(default_factory=set)
    show: Callable[[], None] | None = None
    stopping: threading.Event = field(default_factory=threading.Event)
    afterwards: Afterwards = field(default_factory=Afterwards)

    def stop(self) -> None:
        """Lets no trial begin, and has the running ones saved at their next evaluation."""
        self.stopping.set()
        self.launcher.stop(save=True)


def make_objective(session: Session) -> Callable[[optuna.Trial], float]:
    """Returns the function that Optuna minimises: a trial's best evaluation loss, in nats per token."""

    def objective(trial: optuna.Trial) -> float:
        continued = HORIZON in trial.user_attrs
        if session.stopping.is_set():
            raise TrialInterrupted
        params = session.plan.space.walk(lambda parameter: suggest(trial, parameter))
        check_constraints(session.plan, trial, params, tell=not continued)
        check_memory(session.plan, session.memory, trial, params)
        return OneTrial(session, trial, params).run()

    return objective


class OneTrial:
    """Runs a trial and records how it ended, whatever that is."""

    def __init__(self, session: Session, trial: optuna.Trial, params: Mapping[str, Any]) -> None:
        """Settles the trial's settings and records that it is about to run."""
        self._session, self._trial = session, trial
        plan = session.plan
        self._config = config = plan.config(params)
        # A clone goes on in the first one's folder, if that is on this machine.
        self._folder = trial_folder(session.output, trial.study.study_name, first_number(trial))
        total_steps = config.total_steps(plan.train_rows)
        steps = report_steps(total_steps, config.evaluations)
        warmup = warmup_steps(config.warmup_ratio, total_steps)
        trial.set_user_attr(HORIZON, len(steps))
        trial.set_user_attr(WARMUP, sum(step <= warmup for step in steps))
        progress = learning_progress(config.lr_scheduler_type, config.warmup_ratio, total_steps, steps)
        trial.set_user_attr(PROGRESS, progress)
        if plan.ready.start_loss is not None:
            trial.set_user_attr(START, plan.ready.start_loss)
        write_config(self._folder, config.to_dict(), params)
        relative = self._folder.relative_to(session.output).as_posix()
        session.results.start_trial(trial.number, config, params, relative, total_steps)
        session.results.ran_on(trial.number, gethostname(), plan.ready.device.kind, lost_numbers(trial))
        for number in lost_numbers(trial):
            session.results.end_trial(number, "failed", reason=f"its machine was lost; trial {trial.number} goes on")
        self._view = TrialView(
            number=trial.number,
            lora_rank=config.lora_rank,
            lora_alpha=round(config.lora_alpha),
            lora_target=target_name(params, config),
            learning_rate=config.learning_rate,
            total_evaluations=len(steps),
            total_steps=total_steps,
            eval_losses=session.results.curve(trial.number).eval_losses,
        )
        judge = Judge(lambda: session.to_begin > 0, session.audit, plan.seed)
        self._follower = Follower(
            trial, self._folder, self._view, session.results, session.progress, judge, self._share
        )

    def run(self) -> float:
        """Trains; the best evaluation loss.

        Raises:
            TrialLost: Another machine has the trial now; as UpdateFinishedTrialError where Optuna was first to notice.
            TrialPruned, TrialFailed, WorkerDied, TrialInterrupted, TrialParked: As `_run` does.
        """
        try:
            return self._run()
        except (TrialLost, UpdateFinishedTrialError):
            view = self._view
            view.state, view.reason = "lost", "this machine was silent for too long, and another has the trial now"
            self._session.progress.trial_ended(view)
            raise

    def _run(self) -> float:
        """Trains; the best evaluation loss.

        Raises:
            TrialPruned: It was stopped because it would not win.
            TrialFailed: It broke, as often as it was tried again.
            WorkerDied: Its workers died as often.
            SweepError: What broke is what all trials share; the sweep stops.
            EnvironmentFault: The disk or a device failed, or a worker finds no model any more; the sweep stops.
            TrialInterrupted: The sweep is stopping; the trial can go on later, as after an `EnvironmentFault`.
            TrialParked: Others come first.
        """
        view = self._view
        try:
            ending = self._train()
        except TrialInterrupted:
            view.state, view.reason = "interrupted", "saved: the next run goes on with it"
            self._session.results.end_trial(view.number, view.state, reason=view.reason)
            self._session.progress.trial_ended(view)
            raise
        except EnvironmentFault:
            self._session.stop()
            raise
        except (TrialFailed, WorkerDied) as error:
            self._learn_memory(error)
            self._session.results.broke(view.number, error.failure, "failed", str(error), error.detail)
            self._trial.set_user_attr("error", f"{error}\n{error.detail}".strip())
            self._end(Ending("failed", str(error), None, failure=error.failure))
            if error.failure is FailureClass.SETUP:
                self._session.stop()
                raise SweepError(f"trial {view.number} cannot be trained: {error}") from error
            raise
        self._learn_memory()
        if ending.state == "parked":
            self._park(ending)
            raise TrialParked
        self._end(ending)
        best = self._follower.curve.best
        if ending.state == "pruned" or best is None:
            raise optuna.TrialPruned(ending.told)
        return best.eval_loss

    def _learn_memory(self, error: Exception | None = None) -> None:
        """Lets later trials of the study know what this one needed, or that it was too much."""
        session, ready = self._session, self._session.plan.ready
        reports = self._follower.curve.reports
        new = session.memory.narrowed(session.launcher.limits)
        if isinstance(error, TrialFailed) and error.failure is FailureClass.MEMORY:
            session.memory.ran_out(ready.model, self._config)
            new = True
        elif reports:
            new |= session.memory.measured(ready.model, ready.device, self._config, session.plan.sharing, reports[-1])
        if new:
            session.memory.keep(self._trial.study, ready.device.kind)

    def give_up(self, reason: str) -> None:
        """Ends a parked trial as pruned, with what it has shown."""
        self._follower.curve = curve = self._session.results.curve(self._view.number)
        last = curve.reports[-1]
        self._view.step = last.step
        self._end(Ending("pruned", reason, None, place=f"{last.evaluation} of {last.total_evaluations}"))

    def _park(self, ending: Ending) -> None:
        session, view = self._session, self._view
        view.state, view.reason = ending.state, ending.reason
        best = self._follower.curve.best
        session.results.end_trial(
            view.number,
            ending.state,
            value=best.eval_loss if best else None,
            reason=ending.told,
            trainable_parameters=ending.trainable_parameters,
        )
        session.progress.trial_ended(view)

    def _train(self) -> Ending:
        """Trains, on one worker after another while it breaks and is to go on."""
        session = self._session
        attempts = Attempts(self._trial.number, session.results, session.progress.say)
        if session.shared is not None and session.shared.fetch(self._folder, self._config):
            session.progress.say(f"trial {self._trial.number}: goes on with the state in ARTIFACTS")
        while True:
            try:
                return self._train_once()
            except (TrialFailed, WorkerDied) as error:
                attempts.again(error, self._follower.made, stopping=session.stopping.is_set())

    def _train_once(self) -> Ending:
        session = self._session
        run = self._start()
        try:
            if session.stopping.is_set():
                session.launcher.stop(save=True)  # the stop came before the start
            session.progress.trial_started(self._view)
            return self._follower.follow(run)
        finally:
            run.close()

    def _start(self) -> Run:
        """Starts the run where there is room.

        Raises:
            EnvironmentFault: A new worker does not find what the first one found; the trial is not to blame.
        """
        try:
            return self._session.launcher.start(self._config, self._folder, self._on_step)
        except SweepError as error:
            raise EnvironmentFault(f"no new worker can be started: {error}\n{MENDED}") from error

    def _share(self) -> None:
        if self._session.shared is not None:
            self._session.shared.send(self._folder, self._config)

    def _on_step(self, moved: Moved) -> None:
        if self._view.number in self._session.lost:
            raise TrialLost
        self._follower.on_step(moved)

    def _end(self, ending: Ending) -> None:
        """Records an ending in our tables, the dashboard, the folder and the view; not yet in Optuna."""
        session, trial, view = self._session, self._trial, self._view
        curve = self._follower.curve
        value = curve.best.eval_loss if curve.best else None
        view.state, view.reason = ending.state, ending.reason
        trial.set_user_attr("reason", ending.told)
        if ending.failure is not None:
            trial.set_user_attr(FAILURE, ending.failure)
        if ending.state == "pruned" and ending.failure is not None:
            session.results.broke(trial.number, ending.failure, "pruned", ending.told)
        if ending.trainable_parameters is not None:
            trial.set_user_attr("trainable_parameters", ending.trainable_parameters)
        usual = usual_learning_rate(session.plan.ready.model)
        diagnosis = diagnose_trial(curve, self._config, usual, logged_curve(self._folder, curve))
        if diagnosis is not None:
            trial.set_user_attr(DIAGNOSIS, ", ".join(diagnosis.kinds))
            session.results.diagnosed(trial.number, diagnosis)
        session.artifacts.add(
            trial,
            self._folder,
            curve,
            title=describe(self._config, view),
            state=ending.state,
            reason=ending.told,
            diagnosis=diagnosis,
        )
        session.results.end_trial(
            trial.number,
            ending.state,
            value=value,
            reason=ending.told,
            trainable_parameters=ending.trainable_parameters,
        )
        session.afterwards.do(lambda: self._tidy(ending, value))

    def _tidy(self, ending: Ending, value: float | None) -> None:
        """Says how the trial ended, and deletes adapters that are none of the best any more."""
        session = self._session
        self._tell_progress(ending, value)
        delete_losing_adapters(session.results.trials(), session.output, session.keep_adapters)

    def _tell_progress(self, ending: Ending, value: float | None) -> None:
        """Says it whether Optuna has been told by now or not."""
        session, study, number = self._session, self._trial.study, self._trial.number
        others = [trial for trial in finished_trials(study) if trial.number != number]
        best = min((t.value for t in others if t.state == TrialState.COMPLETE and t.value is not None), default=None)
        if ending.state == "complete" and value is not None and (best is None or value < best):
            self._view.best, best = True, value
        counted = ending.state in ("complete", "pruned")
        spent, saved = session.results.rows_spent_and_saved()
        session.progress.study_moved(
            StudyView(study.study_name, session.total, len(others) + counted, best, spent, saved)
        )
        session.progress.trial_ended(self._view)


def give_up(session: Session, trial: optuna.Trial, reason: str) -> None:
    """Records that a parked trial, which is running again in name alone, is given up; Optuna is not told yet."""
    params = session.plan.space.walk(lambda parameter: suggest(trial, parameter))
    OneTrial(session, trial, params).give_up(reason)


def clean_up(session: Session) -> Callable[[optuna.Study, FrozenTrial], None]:
    """Returns what Optuna calls once a trial is told: only now are its checkpoints of no more use."""

    def delete(study: optuna.Study, trial: FrozenTrial) -> None:
        number = trial.system_attrs.get("failed_trial", trial.number)
        folder = trial_folder(session.output, study.study_name, number)
        session.afterwards.do(lambda: _delete(session, study, folder))
        if session.show is not None:
            session.afterwards.do(session.show)

    return delete


def _delete(session: Session, study: optuna.Study, folder: Path) -> None:
    """Deletes what a trial's end leaves over, here and where other machines find it."""
    delete_checkpoints(folder)
    if session.shared is not None and (config := read_config(folder)) is not None:
        session.shared.tidy(study, folder, config)


def describe(config: TrialConfig, view: TrialView) -> str:
    """A trial's settings in a line."""
    return (
        f"rank {config.lora_rank}, alpha {config.lora_alpha:g}, {view.lora_target}, "
        f"learning rate {config.learning_rate:.3g}, batch {config.effective_batch_size}"
    )
