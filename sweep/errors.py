"""What a user can get wrong in the command line, a study or its storage; and what ends a trial early."""

from trials.failure import FailureClass


class SweepError(Exception):
    """Root of this room's errors: the message says what is wrong, what was given and what is allowed."""


class EnvironmentFault(Exception):
    """The disk, the database or a device failed in the middle of a sweep; nobody asked for anything wrong."""


class WorkerDied(Exception):
    """A worker process ended in the middle of a trial. The message says how, the detail holds its last words.

    `orderly` says that it was to end, since another of its trials broke in a way that nobody foresaw.
    """

    def __init__(
        self,
        message: str,
        detail: str = "",
        *,
        orderly: bool = False,
        failure: FailureClass = FailureClass.UNKNOWN,
    ) -> None:
        super().__init__(message)
        self.detail, self.orderly, self.failure = detail, orderly, failure


class TrialFailed(Exception):
    """A trial ended with an error in its worker, of the class `failure`. `detail` is the traceback's end."""

    def __init__(self, message: str, detail: str = "", failure: FailureClass = FailureClass.UNKNOWN) -> None:
        super().__init__(message)
        self.detail, self.failure = detail, failure


class TrialParked(BaseException):
    """A trial was stopped at an evaluation, with its state on disk, to be continued if it may still be the best."""


class TrialLost(BaseException):
    """Another machine has a trial now, since this one gave no sign of life for too long."""


class TrialInterrupted(BaseException):
    """A trial was saved, or left, to be continued later.

    A BaseException because Optuna records every Exception as a failed trial; this one leaves the trial as it
    is, so that it goes on under its own number.
    """
