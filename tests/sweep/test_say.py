"""Lines for people, and how the program is called."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from sweep.say import program, say

LONG = "note   " + "many words " * 12


def _said(indent: int, terminal: bool) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=60, no_color=True)
    say(console, [LONG], indent=indent)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_a_long_line_is_wrapped_under_its_text_on_a_terminal() -> None:
    lines = _said(indent=7, terminal=True)
    assert len(lines) > 1
    assert all(len(line) <= 60 for line in lines)
    assert all(line.startswith("       many") or line.startswith("       words") for line in lines[1:])


def test_a_line_in_a_pipe_stays_whole() -> None:
    assert _said(indent=7, terminal=False) == [LONG]


def test_markup_is_shown_as_it_is() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60)
    say(console, ["[red]name[/red]"])
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == "[red]name[/red]\n"


@pytest.mark.parametrize(
    ("called", "on_path", "name"),
    [
        ("/x/sweep", True, "sweep"),
        ("/x/sweep", False, "/x/sweep"),
        ("{here}/.venv/bin/sweep", False, ".venv/bin/sweep"),
        ("/x/sweep/__main__.py", False, "python -m sweep"),
    ],
)
def test_the_program_is_named_as_it_can_be_called(
    called: str, on_path: bool, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [called.replace("{here}", str(tmp_path))])
    monkeypatch.setattr("shutil.which", lambda _: "/somewhere/sweep" if on_path else None)
    assert program() == name
