"""Takes one trial's reports as they come: records them, and decides when the trial has shown enough."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import optuna

from sweep.audit import why_it_ran_on
from sweep.errors import TrialInterrupted
from sweep.judging import Stop, never
from sweep.launchers.base import Run
from sweep.progress import Progress, TrialView
from sweep.recovery import frozen
from sweep.results import Results
from sweep.study import best_trial
from sweep.trial_files import TrainerLog
from trials.curve import LearningCurve
from trials.failure import FailureClass
from trials.protocol import Moved
from trials.report import Report


@dataclass(frozen=True)
class Ending:
    """How a trial ended.

    Attributes:
        state: "complete", "pruned", "parked" or "failed".
        reason: Why, in words; empty for a trial that reached its horizon.
        trainable_parameters: The adapter's weights; None when it is not known.
        place: At which of how many evaluations it was stopped for others, "3 of 5"; empty when that says nothing.
        failure: What went wrong with it; None when nothing did.
    """

    state: str
    reason: str
    trainable_parameters: int | None
    place: str = ""
    failure: FailureClass | None = None

    @property
    def told(self) -> str:
        """The reason with its place, as it is stored."""
        return f"at {self.place}: {self.reason}" if self.place else self.reason


class Follower:
    """One trial's way from report to report. It outlives the workers that the trial runs on.

    Attributes:
        curve: The reports so far.
    """

    def __init__(
        self,
        trial: optuna.Trial,
        folder: Path,
        view: TrialView,
        results: Results,
        progress: Progress,
        judge: Callable[[optuna.Trial, str], Stop | None] = never,
        share: Callable[[], None] = lambda: None,
    ) -> None:
        """Follows a trial.

        Args:
            trial: Optuna's.
            folder: The trial's.
            view: What the progress shows of it.
            results: Our own tables.
            progress: What the user sees.
            judge: Whether the trial is to be stopped for others after its newest report.
            share: Called once a new report is recorded, whose checkpoint is on disk.
        """
        self._trial, self._folder, self._view = trial, folder, view
        self._results, self._progress, self._judge_by, self._share = results, progress, judge, share
        self.curve = LearningCurve()
        self._reported = set(frozen(trial).intermediate_values)
        self._log: TrainerLog | None = None
        self._seconds_before, self._started = 0.0, time.monotonic()

    @property
    def made(self) -> int:
        """Evaluations that are recorded."""
        return len(self._reported)

    def on_step(self, moved: Moved) -> None:
        """Takes an optimizer step: log and view."""
        self._open_log(moved.step).add_step(moved, self._seconds_before + time.monotonic() - self._started)
        view = self._view
        view.step, view.total_steps = moved.step, moved.total_steps
        view.train_loss, view.tokens_per_second = moved.train_loss, moved.tokens_per_second
        self._progress.trial_moved(view)

    def follow(self, run: Run) -> Ending:
        """Takes a run's reports until it ends or should be stopped.

        A run that goes on from a checkpoint gives its earlier reports first: those known are not taken twice.

        Raises:
            TrialInterrupted: The run was stopped by the sweep's own stop.
            TrialFailed: The run broke.
            WorkerDied: Its worker did.
        """
        self.curve, self._log = LearningCurve(), None
        self._started, self._seconds_before = time.monotonic(), 0.0
        for report in run:
            self.curve.append(report)
            if report.evaluation in self._reported:
                self._seconds_before = report.seconds
                continue
            self._take(report)
            ending = self._judge()
            if ending is not None:
                run.close()
                parameters = run.finished.trainable_parameters if run.finished else None
                return replace(ending, trainable_parameters=parameters)
        if run.finished is None:
            raise TrialInterrupted  # stopped at once; the checkpoint of its last evaluation stays
        last = self.curve.reports[-1] if self.curve.reports else None
        self._open_log(last.step + 1 if last else 1)
        return self._natural_end(run.finished.early, run.finished.trainable_parameters)

    def _take(self, report: Report) -> None:
        if self._log is not None:
            self._log.add_report(report)
        self._results.add_report(self._trial.number, report)
        self._trial.report(report.eval_loss, step=report.evaluation)
        self._reported.add(report.evaluation)
        view = self._view
        view.step, view.total_steps = report.step, report.total_steps
        view.train_loss = report.train_loss
        view.eval_losses = self.curve.eval_losses
        self._progress.trial_reported(view)
        self._share()

    def _judge(self) -> Ending | None:
        """Whether the newest report ends the trial."""
        diverged = self.curve.divergence()
        if diverged:
            return Ending("pruned", diverged, None, failure=FailureClass.DIVERGED)
        rising = self.curve.sustained_rise()
        if rising:
            # Training on is hopeless, but what it has reached may be the best there is: then it counts.
            return Ending("complete" if self._leads() else "pruned", rising, None)
        last = self.curve.reports[-1]
        place = f"{last.evaluation} of {last.total_evaluations}"
        stop = None if last.evaluation == last.total_evaluations else self._judge_by(self._trial, place)
        return Ending(stop.state, stop.reason, None, place=place) if stop else None

    def _natural_end(self, early: bool, parameters: int) -> Ending:
        best = self.curve.best
        if best is None or not math.isfinite(best.eval_loss):
            told = "diverged: no evaluation loss was finite"
            return Ending("pruned", told, parameters, failure=FailureClass.DIVERGED)
        early_words = f"stopped early: no improvement since evaluation {best.evaluation}" if early else ""
        reason = "; ".join(filter(None, (early_words, why_it_ran_on(frozen(self._trial)))))
        return Ending("complete", reason, parameters)

    def _leads(self) -> bool:
        leader, best = best_trial(self._trial.study), self.curve.best
        return best is not None and (leader is None or leader.value is None or best.eval_loss < leader.value)

    def _open_log(self, next_step: int) -> TrainerLog:
        if self._log is None:
            self._log = TrainerLog(self._folder, self.curve.reports, next_step)
        return self._log
