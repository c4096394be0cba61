"""Files under a temporary name, which a killed process leaves and a later one clears away."""

import contextlib
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


@contextmanager
def temporary(folder: Path, purpose: str, also: Path | None = None) -> Iterator[Path]:
    """A new folder in `folder` that is gone in the end; those that dead processes of this machine left go too.

    Args:
        folder: Where.
        purpose: A word of its name.
        also: Another folder where a dead process may have left its own.
    """
    for place in (folder, also or folder):
        _clear(place, purpose)
    place = folder / f"{_prefix(purpose)}{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def nearest(folder: Path) -> Path:
    """The folder itself, or the next one above it that exists: on the same disk."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _prefix(purpose: str) -> str:
    host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname())
    return f".{purpose}-{host}-"


def _clear(folder: Path, purpose: str) -> None:
    prefix = _prefix(purpose)
    with contextlib.suppress(OSError):
        for place in folder.iterdir():
            pid = place.name.removeprefix(prefix)
            if place.name.startswith(prefix) and pid.isdigit() and not psutil.pid_exists(int(pid)):
                shutil.rmtree(place, ignore_errors=True)
