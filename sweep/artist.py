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
from shutil import copyfile
from typing import Any

# How far the process stands back; 19 is the furthest.
NICE = 10


@dataclass(frozen=True)
class Picture:
    """A picture to draw.

    Attributes:
        path: Where to.
        copy: Where a copy goes; the dashboard reads that one.
        settings: What else `sweep.plots.curve_picture` takes.
    """

    path: Path
    copy: Path
    settings: dict[str, Any]


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

    def finish(self) -> str:
        """Waits until every picture is drawn, and ends the process.

        Returns:
            What a user should know: that the process died. No trial's result depends on it.

        Raises:
            OSError: A picture could not be written.
        """
        process, pipe = self._process, self._pipe
        if process is None or pipe is None:
            return ""
        self._process = self._pipe = None
        asked, self._asked = self._asked, 0
        fault, died = "", ""
        try:
            for _ in range(asked):
                fault = pipe.recv() or fault
        except (EOFError, OSError):
            died = f"the process that draws the curves' pictures died ({process.poll()}): some are missing"
        finally:
            pipe.close()
            process.wait()
        if fault:
            raise OSError(fault)
        return died

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


def paint(picture: Picture) -> str:
    """Draws one; what went wrong, or nothing."""
    from sweep.plots import curve_picture

    try:
        curve_picture(picture.path, **picture.settings)
        copyfile(picture.path, picture.copy)
    except OSError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    main()
