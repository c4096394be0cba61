"""Prints lines for people: wrapped on a terminal, one line each in a file or a pipe."""

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from sweep.progress import printable


def program() -> str:
    """How this program is called from here: "sweep" where that is on the path, else by where it lies."""
    called = Path(sys.argv[0])
    if called.name != "sweep":
        return "python -m sweep"
    if shutil.which("sweep") is not None:
        return "sweep"
    return os.path.relpath(called) if called.is_relative_to(Path.cwd()) else str(called)


def say(console: Console, lines: Sequence[str], indent: int = 0) -> None:
    """Prints lines without markup. Whatever names are in them, each stays one line and moves no cursor.

    Args:
        console: Where to.
        lines: What.
        indent: Columns by which the rest of a line that a terminal cannot hold is set in; 0 leaves lines whole.
    """
    for line in lines:
        line = printable(line).replace("\n", " ")
        if indent and console.is_terminal and len(line) > console.width:
            line = textwrap.fill(line, console.width, subsequent_indent=" " * indent, break_on_hyphens=False)
        console.print(line, soft_wrap=True, highlight=False, markup=False)
