"""Names in every place that they come to: folders, tables, notes, pictures, comments, commands."""

import io
import shlex
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from sweep.errors import SweepError
from sweep.exports.yaml_text import comment_lines, yaml_text
from sweep.names import LONGEST, check_study_name
from sweep.plots import curve_picture
from sweep.results import Results
from sweep.say import say
from sweep.summary import next_steps
from sweep.trial_files import study_folder
from tests.sweep.fakes import curve, new_storage

NAMES = (
    "../../escaped",
    "/etc/passwd",
    "..",
    "x'; drop table sweep_trials; --",
    "[red]x[/red] [link=http\\x]y[/link]",
    "<img src=x onerror=alert(1)> **bold** [a](b)",
    "$x^$ \\frac %s {0} %(x)s",
    "$(touch pwned) `touch pwned` ; touch pwned",
    "yes: [no, {a: !!python/object:b}] # &c *d",
    "'single\" double",
    "- item",
    "...",
    "ä 模型 🦙",
)
ESCAPES = (
    "\x1b]0;title\x07",
    "\x1b[31mred",
    "two\nlines",
    "back\rspace",
    "\x9b31m",
    "a\u202eb",
    "\udcff",
    "\u2028",
    "\x85",
)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("-")])
def test_a_study_may_have_any_name_that_can_be_seen(name: str) -> None:
    check_study_name(name)


@pytest.mark.parametrize("name", [*ESCAPES, "", "  ", "-rf", "x" * (LONGEST + 1), "a\tb", "a\0b"])
def test_no_other(name: str) -> None:
    with pytest.raises(SweepError) as refusal:
        check_study_name(name)
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize("name", [*NAMES, *ESCAPES])
def test_a_folder_lies_in_the_output_folder(name: str, tmp_path: Path) -> None:
    folder = study_folder(tmp_path, name)
    assert folder.resolve().parent == tmp_path.resolve()
    assert folder.name.isascii()


def test_folders_of_names_that_are_alike_differ(tmp_path: Path) -> None:
    names = [*NAMES, *ESCAPES, "a/b", "a-b", "a b", "A-b"]
    assert len({study_folder(tmp_path, name) for name in names}) == len(names)


def test_tables_keep_names_apart(tmp_path: Path) -> None:
    storage = new_storage(tmp_path / "sweep.db")
    for place, name in enumerate(NAMES):
        Results(storage.engine, name).add_imported([{"lora_rank": place}], [2.0], [name])
    for place, name in enumerate(NAMES):
        (row,) = Results(storage.engine, name).trials()
        assert (row["lora_rank"], row["reason"]) == (place, name)


@pytest.mark.parametrize("name", [*NAMES, *ESCAPES])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_line_is_one_line_of_what_can_be_seen(name: str, terminal: bool) -> None:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=60, color_system="truecolor")
    say(console, [f"study {name} in x"], indent=7)
    assert isinstance(console.file, io.StringIO)
    told = console.file.getvalue()
    assert told.count("\n") == 1
    assert told.rstrip("\n").isprintable()
    if name.isprintable():
        assert name in told


@pytest.mark.parametrize("name", NAMES)
def test_commands_that_are_printed_take_the_name_as_one_word(name: str) -> None:
    for line in next_steps(name, f"runs/{name}.db", "runs/sweep.db", confirmable=True):
        words = shlex.split(line.removeprefix("Next:"), comments=False)
        if "make" not in words:
            assert words[2:5] == [name, "--storage", f"runs/{name}.db"]
        else:
            assert f"STORAGE=runs/{name}.db" in words


@pytest.mark.parametrize("name", [*NAMES, *ESCAPES])
def test_yaml_holds_a_name_as_text_and_comments_it_in_a_line(name: str) -> None:
    text = yaml_text([([f"Study {name}."], {"first": name}), ([name], {"list": [{"path": name}], "last": name})])
    if name != "\udcff":  # is no text in UTF-8: what is written spells it out, and YAML reads no half characters
        assert yaml.safe_load(text) == {"first": name, "list": [{"path": name}], "last": name}
    comments = comment_lines([f"Study {name}."])
    assert comments.count("\n") == len(comments.splitlines()) == 1
    compile(comments, "export.py", "exec")


@pytest.mark.parametrize("name", [*NAMES, *ESCAPES])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_pictures_have_any_title(name: str, tmp_path: Path) -> None:
    path = tmp_path / "curve.png"
    curve_picture(path, curve(3.0, 2.0), title=name, subtitle=name, prune_reason=name)
    assert path.read_bytes().startswith(b"\x89PNG")
