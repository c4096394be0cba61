"""`sweep plan`: counts the data that is given and prints the stages that suit it, with their commands."""

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from sweep.errors import SweepError
from sweep.say import program, say
from sweep.stages import LARGE, SMALL, Data, Way, plan_stages
from trials.rows import DEFAULT_OF_STAGE, read_rows

# Stand in the commands for data that only its number of rows is known of.
_PLACES: dict[Data, str] = {"domain": "TEXTS.jsonl", "instructions": "CHATS.jsonl"}
# The generic set that the guide names (4.3); its name on the hub.
_ALPACA = "tatsu-lab/alpaca"
_WORDS: dict[Data, str] = {"domain": "domain rows", "instructions": "instruction rows"}


@dataclass(frozen=True)
class Given:
    """One kind of data: how many rows, and what the commands call it."""

    rows: int
    dataset: str


def plan_command(
    files: Sequence[str], domain: str, instructions: str, domain_dataset: str, instruction_dataset: str, model: str
) -> None:
    """Prints which stages to train in, why, and how."""
    given = {
        "domain": _numbered("domain", domain, domain_dataset),
        "instructions": _numbered("instructions", instructions, instruction_dataset),
    }
    for file in files:
        kind, found = _counted(file)
        before = given[kind]
        if before is not None:
            raise SweepError(
                f"{file} holds {_WORDS[kind]}, of which there are {before.dataset or f'{before.rows:,}'} already; "
                "give them once (files of one form can lie in one folder)"
            )
        given[kind] = found
    texts, chats = (given[kind] or Given(0, "") for kind in ("domain", "instructions"))
    ways = plan_stages(texts.rows, chats.rows)
    say(Console(), plan_lines(texts, chats, ways, model))


def plan_lines(texts: Given, chats: Given, ways: Sequence[Way], model: str = "") -> list[str]:
    """What was given, the stages with their reasons, and the commands.

    Args:
        texts: The domain's rows.
        chats: The instructions.
        ways: As `plan_stages` gave them.
        model: The base model, as it is to be named; empty for the default one.
    """
    names = {"domain": texts.dataset or _PLACES["domain"], "instructions": chats.dataset or _PLACES["instructions"]}
    lines = [f"given  {_told(texts, 'domain')}, {_told(chats, 'instructions')}"]
    if len(ways) > 1:
        lines += [
            f"plan   the guide leaves open (4.3) what suits domain data between {SMALL:,} and {LARGE:,} rows: "
            "try both, and let",
            "       the evaluation loss of the instructions decide; both ways evaluate on the same rows",
        ]
    for way in ways:
        label = "plan" if len(ways) == 1 else "way"
        lines.append(f"{label:<6} {way.name}: {way.why}")
        for number, stage in enumerate(way.stages, start=1):
            lines.append(f"  {number}. {stage.stage:<3}  {stage.why}")
    for way in ways:
        lines += ["", *_commands(way, names, model, alone=len(way.stages) == 1 and len(ways) > 1)]
    return lines + _notes(texts, chats, ways)


def _commands(way: Way, names: dict[str, str], model: str, *, alone: bool) -> list[str]:
    """A line a study, and one that exports the last; `alone` keeps its name apart from another way's."""
    own = _stem(names["domain"] if way.stages[0].data == "domain" else names["instructions"])
    lines, study = [], ""
    for stage in way.stages:
        base = f"FROM_STUDY={study}" if study else f"MODEL={shlex.quote(model)}" if model else ""
        dataset = _ALPACA if stage.data == "generic" else names[stage.data]
        study = f"{own}-{stage.stage}{'-alone' if alone else ''}"
        words = ["make sweep", f"SPACE={stage.space}", base, f"DATASET={shlex.quote(dataset)}", f"STUDY={study}"]
        lines.append(" ".join(word for word in words if word))
    return [*lines, f"{program()} export {study}"]


def _notes(texts: Given, chats: Given, ways: Sequence[Way]) -> list[str]:
    """What the commands leave to the reader."""
    used = {stage.data for way in ways for stage in way.stages}
    both: tuple[tuple[Data, Given], ...] = (("domain", texts), ("instructions", chats))
    notes = []
    for kind, given in both:
        if kind in used and not given.dataset:
            notes.append(f"{_PLACES[kind]} stands for your own {_WORDS[kind]}")
        elif kind not in used and given.rows:
            notes.append(f"no stage is trained on the {given.rows:,} {_WORDS[kind]}: so few add little knowledge")
    if "generic" in used:
        notes.append(f"{_ALPACA} is Alpaca's name on the hub; a file of any instruction set will do")
    if "instructions" in used:
        notes.append(
            "for little or much data there are also task_simple and task_complex (guide 3.2, which gives no numbers)"
        )
    if len(ways) > 1:
        notes.append(f"{program()} list shows the best loss of both ways; export the better one")
    return ["", *(f"note   {note}" for note in notes)] if notes else []


def _told(given: Given, kind: Data) -> str:
    return f"{given.rows:,} {_WORDS[kind]}" + (f" ({given.dataset})" if given.dataset else "")


def _stem(dataset: str) -> str:
    """The beginning of the studies' names, which needs no quotes anywhere."""
    name = Path(dataset.rstrip("/")).stem if dataset not in _PLACES.values() else "mine"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "mine"


def _numbered(kind: Data, rows: str, dataset: str) -> Given | None:
    """The rows that were told by number; None when they were not.

    Raises:
        SweepError: It is no number, or a name without one.
    """
    option = f"--{kind}"
    if not rows:
        if dataset:
            raise SweepError(f"{dataset} is given without a number of rows: add {option} ROWS, or give it as a file")
        return None
    number = re.sub(r"[,_]", "", rows)
    if not (number.isascii() and number.isdecimal()):
        raise SweepError(
            f"{option} is {rows!r}; allowed: a whole number of rows of at least 0 (a file is given without {option})"
        )
    return Given(int(number), dataset)


def _counted(file: str) -> tuple[Data, Given]:
    """Reads a file or folder: what kind of rows it holds, and how many.

    Raises:
        SweepError: There is none of that name.
        DataError: It cannot be read.
    """
    if not file or (file not in DEFAULT_OF_STAGE.values() and not Path(os.path.expanduser(file)).exists()):
        raise SweepError(
            f"no file or folder {file!r} to count rows in; of data that is elsewhere give the number: --domain ROWS or "
            "--instructions ROWS"
        )
    raw = read_rows(file, None)
    return "domain" if raw.form == "text" else "instructions", Given(len(raw.rows), file)
