"""What ends a sweep before its total: the user's signals, and failures one after the other."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweep.errors import SweepError
from sweep.objective import FAILURE, Session
from sweep.study import INFEASIBLE
from trials.failure import FailureClass

# Failures in a row after which the next trial would only fail too.
MOST_FAILURES_IN_A_ROW = 3
# Settings that break a constraint, or find no memory, after which a search has none left that can be trained.
MOST_UNTRAINED_IN_A_ROW = 200
HELP_FAILED = "What finished is recorded. `sweep show` lists the reasons; the same line again goes on."


class FailureWatch:
    """Ends a sweep whose trials fail one after the other."""

    def __init__(self) -> None:
        self._in_a_row: list[FrozenTrial] = []
        self._untrained = 0
        self._why = ""
        self._lock = threading.Lock()

    def __call__(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Takes an ended trial; Optuna calls it."""
        with self._lock:
            self._why = trial.user_attrs.get(INFEASIBLE, "")
            self._untrained = self._untrained + 1 if self._why else 0
            if not self._why:
                self._in_a_row = [*self._in_a_row, trial] if trial.state == TrialState.FAIL else []

    def hopeless(self) -> bool:
        """Whether the next trial would only fail too."""
        return len(self._in_a_row) >= MOST_FAILURES_IN_A_ROW or self._untrained >= MOST_UNTRAINED_IN_A_ROW

    def raise_if_hopeless(self) -> None:
        """Ends the sweep if it has to be.

        Raises:
            SweepError: So many trials failed, or could not be trained, in a row; says which, and the last one's reason.
        """
        if self._untrained >= MOST_UNTRAINED_IN_A_ROW:
            raise SweepError(f"{self._untrained} settings one after the other were {self._why}\n{HELP_FAILED}")
        if self.hopeless():
            numbers = ", ".join(str(trial.number) for trial in self._in_a_row)
            told = "".join(f"  {_told(trial)}\n" for trial in self._in_a_row)
            raise SweepError(f"trials {numbers} failed one after the other\n{told}{HELP_FAILED}")


def _told(trial: FrozenTrial) -> str:
    """How a trial failed, in a line."""
    reason = trial.user_attrs.get("reason") or "no reason was recorded"
    return f"trial {trial.number}  {trial.user_attrs.get(FAILURE, FailureClass.UNKNOWN)}: {reason.splitlines()[0]}"


@contextmanager
def stop_on_signals(session: Session, hurry: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) saves the running trials, a second one stops at once, and calls `hurry`."""

    def stop() -> None:
        if session.stopping.is_set():
            hurry()
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
