"""What the tests of the progress share: trials to show, and terminals to show them on."""

import io
import re
from collections.abc import Callable

from rich.console import Console

from sweep.progress import (
    PlainProgress,
    Progress,
    StudyView,
    TrialView,
    make_progress,
)

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOURS = re.compile(r"\x1b\[[0-9;]*\b(?:3[0-7]|4[0-7]|38|48|9[0-7])\b[0-9;]*m")


def trial(number: int = 15, **changes: object) -> TrialView:
    view = TrialView(number, 8, 8, "attention", 5.0e-4, total_evaluations=10, total_steps=80)
    for name, value in changes.items():
        setattr(view, name, value)
    return view


def study(**changes: object) -> StudyView:
    view = StudyView("sft_lora", total=24, finished=15, best_value=2.581, steps_spent=590, steps_saved=410)
    for name, value in changes.items():
        setattr(view, name, value)
    return view


def terminal(width: int = 80, height: int = 24, **environment: str) -> Console:
    # Not the environment that the tests run in: TERM=dumb or NO_COLOR there would change what is drawn.
    environ = {"TERM": "xterm-256color", **environment}
    return Console(file=Utf8(), force_terminal=True, width=width, height=height, _environ=environ)


class Utf8(io.StringIO):
    encoding = "utf-8"


class Ascii(io.StringIO):
    encoding = "ascii"


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def visible(console: Console) -> list[str]:
    """The lines a terminal would hold: those that were erased to be redrawn are gone."""
    lines = [""]
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", shown(console)):
        if token == "\n":
            lines.append("")
        elif token == "\x1b[1A":
            lines.pop()
        elif token == "\x1b[2K":
            lines[-1] = ""
        elif token == "\r" or token.startswith("\x1b"):
            continue
        else:
            lines[-1] += token
    return [line.rstrip() for line in lines if line.strip()]


def plain(tell: Callable[[Progress], None]) -> str:
    console = Console(file=io.StringIO(), width=40, _environ={})
    with make_progress(console, 2) as progress:
        assert isinstance(progress, PlainProgress)
        tell(progress)
    return shown(console)
