"""A folder that is made once, whole or not at all, whoever asks for it. Torch-free."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def make_once(folder: Path, fill: Callable[[Path], None]) -> None:
    """Has `fill` write a folder that is not there yet.

    Any number of processes may call this at once: one makes it, the others wait. It is written beside its place and
    moved there, so that a kill leaves nothing half; what a killed process left is cleared away by the next.

    Args:
        folder: Where it is to be; its parents are made.
        fill: Writes the content into the empty folder that it is given.

    Raises:
        OSError: The disk is full or cannot be written.
    """
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if folder.exists():
            return
        part = folder.with_name(f".{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        try:
            fill(part)
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
