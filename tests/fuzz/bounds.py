"""What every fuzzing test holds to: some hundred examples, the same in every run; `make fuzz` tries many and others."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

from hypothesis import HealthCheck, settings

from spaces.errors import SpaceError
from sweep.errors import SweepError
from trials.errors import TrialsError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
# The errors that a user sees as a line; anything else would be a traceback.
OURS = (SpaceError, SweepError, TrialsError)
# Of the process's own time for one example, which takes milliseconds: a limit that only a hang reaches.
HANG_SECONDS = 30
LONGEST_ERROR = 2000  # characters

fuzzed = settings(
    max_examples=EXAMPLES or 150,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)


@contextlib.contextmanager
def refusing() -> Iterator[None]:
    """Lets a refusal pass, which has to be one of ours and of one or two lines; a hang and any other error fail."""

    def hangs(_signal: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"it hangs: {HANG_SECONDS} s of its own time")

    before = signal.signal(signal.SIGVTALRM, hangs)
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_SECONDS)
    try:
        yield
    except OURS as error:
        words = str(error)
        assert words.strip()
        assert words.count("\n") <= 1, words
        assert len(words) <= LONGEST_ERROR, words
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
