"""Copies a study's files while trials may be writing them."""

import contextlib
import os
import shutil
import time
from pathlib import Path

from sweep.bundles.layout import is_allowed, trial_files
from sweep.trial_files import CONFIG, CURVE, LOG
from trials.checkpoint_files import is_whole
from trials.folders import ADAPTER, CHECKPOINT, CHECKPOINT_BEFORE

# How often a file, or a checkpoint, that changed while it was copied is copied again, and seconds between.
TRIES, PAUSE = 20, 0.1


def gather_trial(trial: Path, number: int, to: Path, *, unfinished: bool) -> str:
    """Copies what a trial has left so far, in place of what was copied before.

    Args:
        trial: Its folder.
        number: Its number.
        to: The bundle's folder.
        unfinished: Whether it may go on: then it needs its checkpoint.

    Returns:
        What should be known: that it has a checkpoint, but none could be copied whole.
    """
    target = to / trial_files(number)
    shutil.rmtree(target, ignore_errors=True)
    for name in (LOG, CONFIG, CURVE):
        _take(trial / name, target / name, to)
    _take_folder(trial / ADAPTER, target / ADAPTER, to, link=not unfinished)
    if not unfinished:
        return ""
    for _ in range(TRIES):
        # A new checkpoint takes the old one's place by renaming: what is copied may be half of each.
        for name in (CHECKPOINT, CHECKPOINT_BEFORE):
            _take_folder(trial / name, target / name, to, link=True)
            if is_whole(target / name):
                return ""
            shutil.rmtree(target / name, ignore_errors=True)
        if not any((trial / name).exists() for name in (CHECKPOINT, CHECKPOINT_BEFORE)):
            return ""
        time.sleep(PAUSE)
    return f"trial {number} has no whole checkpoint: it will begin again"


def gather_artifact(artifact: Path, name: str, to: Path) -> None:
    """Copies a file of the dashboard; a picture that is not drawn yet is left."""
    _take(artifact, to / name, to)


def _take_folder(source: Path, target: Path, to: Path, *, link: bool) -> None:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for file in sorted(source.iterdir()):
            _take(file, target / file.name, to, link=link and file.suffix == ".safetensors")


def _take(source: Path, target: Path, to: Path, *, link: bool = False) -> None:
    """Copies a file, again while it changes; one that is gone, or that no bundle may have, is left.

    Args:
        source: The file.
        target: Where to.
        to: The bundle's folder, to which names are relative.
        link: Whether it is never written again, only replaced or deleted: then it need not be copied.
    """
    if not is_allowed(target.relative_to(to).as_posix()) or not source.is_file():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if link:
        with contextlib.suppress(OSError):
            os.link(source.resolve(), target)
            return
    for _ in range(TRIES):
        try:
            before = source.stat()
            shutil.copyfile(source, target)
            after = source.stat()
        except FileNotFoundError:
            target.unlink(missing_ok=True)
            return
        if (before.st_ino, before.st_size, before.st_mtime_ns) == (after.st_ino, after.st_size, after.st_mtime_ns):
            return
        time.sleep(PAUSE)
