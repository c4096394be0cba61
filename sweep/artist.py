"""Draws the trials' pictures in a process of its own, which gives way to everything else.

Drawing takes a fifth of a second of Python for each: within the coordinator it would hold up the next trial's start.
Started as `python -m sweep.artist FD`, where FD is its end of a pipe; when the other end closes, it ends.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# How far the process stands back; 19 is the furthest.
NICE = 10


@dataclass(frozen=True)
class Picture:
    """A picture to draw.

    Attributes:
        path: Where to.
        store: ARTIFACTS, as `open_store` takes it; the dashboard reads the copy there.
        output: The output folder.
        copy: The copy's name in the store.
        settings: What else `sweep.plots.curve_picture` takes.
    """

    path: Path
    store: str
    output: Path
    copy: str
    settings: dict[str, Any]


# What went wrong with a picture, in words, and whether it is the store's copy alone that is missing. A plain tuple, as
# the process that draws is another program.
Fault = tuple[str, bool]


class Artist:
    """This side of the pipe. The process starts with the first picture."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._asked = 0
        self._sending = threading.Lock()

    def draw(self, picture: Picture) -> None:
        """Has a picture drawn; does not wait. Safe to call from several threads."""
        # That the process is gone is found out by `finish`.
        with self._sending, contextlib.suppress(OSError):
            pipe = self._pipe or self._start()
            self._asked += 1
            pipe.send(picture)

    def finish(self) -> tuple[str, str]:
        """Waits until every picture is drawn, and ends the process.

        Returns:
            What a user should know: that the process died, and the reason when the store failed. No trial's result
            depends on them.

        Raises:
            OSError: A picture could not be written.
        """
        process, pipe = self._process, self._pipe
        if process is None or pipe is None:
            return "", ""
        self._process = self._pipe = None
        asked, self._asked = self._asked, 0
        fault, died, store = "", "", ""
        try:
            for _ in range(asked):
                found: Fault | None = pipe.recv()
                if found is not None:
                    reason, of_store = found
                    fault, store = (fault, reason) if of_store else (reason, store)
        except (EOFError, OSError):
            died = f"the process that draws the curves' pictures died ({process.poll()}): some are missing"
        finally:
            pipe.close()
            process.wait()
        if fault:
            raise OSError(fault)
        return died, store

    def _start(self) -> Connection:
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sweep.artist", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # A terminal's Ctrl-C must reach the coordinator alone.
                start_new_session=True,
                env={**os.environ, "PYTHONSAFEPATH": "1"},
            )
        return self._pipe


def main() -> None:
    """Draws what comes through the pipe; answers each picture with what went wrong, or nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    pipe = Connection(int(sys.argv[1]))
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send(paint(pipe.recv()))


def paint(picture: Picture) -> Fault | None:
    """Draws one; what went wrong, or nothing."""
    from sweep.plots import curve_picture
    from sweep.store import StoreFault, open_store

    try:
        curve_picture(picture.path, **picture.settings)
        open_store(picture.store, picture.output).put(picture.copy, picture.path)
    except OSError as error:
        return str(error), False
    except StoreFault as fault:
        return str(fault), True
    return None


if __name__ == "__main__":
    main()
