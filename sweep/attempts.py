"""What is done about a trial that broke: its failure's class decides (`trials.failure`)."""

from collections.abc import Callable

from sweep.errors import EnvironmentFault, TrialFailed, TrialInterrupted, WorkerDied
from sweep.faults import MENDED
from sweep.results import Results
from trials.failure import FailureClass

# Times that a trial goes on after it broke, on a new worker, without having got any further in between.
MOST_RETRIES = 2
RETRIED = (FailureClass.PREEMPTED, FailureClass.UNKNOWN)


class Attempts:
    """A trial's tries, one after the other; each goes on from the last evaluation."""

    def __init__(self, number: int, results: Results, say: Callable[[str], None]) -> None:
        self._number, self._results, self._say = number, results, say
        self._tries, self._made = 0, -1

    def again(self, error: TrialFailed | WorkerDied, made: int, *, stopping: bool) -> None:
        """Returns when the trial is to go on at once.

        Args:
            error: How it broke.
            made: The evaluations that it has made so far.
            stopping: Whether the sweep is stopping.

        Raises:
            TrialInterrupted: It goes on in another session.
            EnvironmentFault: It does as well, once disk or device are mended.
            TrialFailed: It has failed.
            WorkerDied: It has failed, by the death of one worker after another.
        """
        if error.failure is FailureClass.ENVIRONMENT:
            raise EnvironmentFault(f"trial {self._number}: {error}\n{MENDED}") from error
        if error.failure not in RETRIED:
            raise error
        if stopping:
            raise TrialInterrupted from error
        if not (isinstance(error, WorkerDied) and error.orderly):  # whose end is another trial's doing
            self._tries = self._tries + 1 if made == self._made else 1
            self._made = made
            if self._tries > MOST_RETRIES:
                raise error
            self._results.broke(self._number, error.failure, "continued", str(error), error.detail)
        self._say(f"trial {self._number}: {error}; going on with a new worker")
