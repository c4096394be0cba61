"""What is left to do of a trial that has ended, and that no next trial should wait for.

A thread does it while the place that the trial had is at work again.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Afterwards:
    """Does what it is given, one after the other, in that order."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "afterwards")
        self._last: Future[None] | None = None

    def do(self, what: Callable[[], None]) -> None:
        """Has something done soon.

        Raises:
            Exception: What was done before it failed; so does all after it.
        """
        before = self._last
        if before is not None and before.done():
            before.result()

        def in_turn() -> None:
            if before is not None:
                before.result()
            what()

        self._last = self._thread.submit(in_turn)

    def finish(self) -> None:
        """Waits until all is done.

        Raises:
            Exception: Some of it failed.
        """
        last, self._last = self._last, None
        if last is not None:
            last.result()
