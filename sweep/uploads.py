"""Does a store's work in a thread of its own, so that no trial waits for it."""

import threading
import time
from collections.abc import Callable

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from sweep.store import StoreFault

# Seconds for which nothing is tried after the store failed: each try may take some to find out that it fails again.
PAUSE_SECONDS = 20.0


class Uploads:
    """Jobs under names, done one after the other; a later one of a name takes the place of one that waits.

    A store that cannot be reached ends nothing: it is told once, and the jobs of the next seconds are left out.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        """Takes what is called once with the reason when the store fails."""
        self._tell = tell
        self._turn = threading.Condition()
        self._jobs: dict[str, Callable[[], None]] = {}
        self._works = self._told = False
        self._paused_until = -1.0

    def put(self, name: str, job: Callable[[], None]) -> None:
        """Has a job done; does not wait."""
        with self._turn:
            self._jobs[name] = job
            if not self._works:
                self._works = True
                threading.Thread(target=self._work, name="uploads", daemon=True).start()

    def finish(self) -> None:
        """Waits until every job is done, or left out."""
        with self._turn:
            self._turn.wait_for(lambda: not self._works)

    def _work(self) -> None:
        while True:
            with self._turn:
                if not self._jobs:
                    self._works = False
                    self._turn.notify_all()
                    return
                job = self._jobs.pop(next(iter(self._jobs)))
            if time.monotonic() < self._paused_until:
                continue
            try:
                job()
            except StoreFault as fault:
                self._paused_until = time.monotonic() + PAUSE_SECONDS
                self.fail(str(fault))
            except (OSError, SQLAlchemyError, StorageInternalError):
                # A file that went in between, or a database that is away: whoever needs them says so.
                continue
            except Exception as error:  # noqa: BLE001 - a thread that ended here would be waited for without end
                self.fail(f"{type(error).__name__}: {error}")

    def fail(self, reason: str) -> None:
        """Tells that the store failed, the first time."""
        with self._turn:
            told, self._told = self._told, True
        if not told:
            self._tell(reason)
