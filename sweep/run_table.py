"""Reads a table of finished runs: which columns are knobs, which one is the loss, and what is wrong with it.

Knows CSV only; `sweep.importing` makes a study of what is read here.
"""

import csv
import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweep.batch_split import BATCH
from sweep.errors import SweepError
from trials.config import TrialConfig

Value = int | float | str

# Losses that a table may call by these names; with two of them in one table nothing is guessed.
LOSSES = ("eval_loss", "test_nll", "loss")
# What runs must share for their losses to compare at all; a table of several is taken one at a time.
GROUPS = ("model", "dataset")
_NUMERIC = {field.name for field in dataclasses.fields(TrialConfig) if field.type in (int, float)}
# Settings that are known by name; of any other column nobody can say whether it was chosen or measured.
KNOWN = (*(field.name for field in dataclasses.fields(TrialConfig)), BATCH, "alpha_ratio")
NUMERIC = {*_NUMERIC, BATCH, "alpha_ratio"}
# Lines that an error names before it says "and more".
MOST_NAMED = 5


@dataclass(frozen=True)
class RunTable:
    """Finished runs, as a table tells them.

    Attributes:
        file: The table's name.
        loss: The column that holds the loss.
        knobs: Each run's settings by name, one type a knob.
        losses: Each run's loss, in nats per token; finite.
        others: Each run's other columns, as text: measured, not chosen.
        where: The columns by which rows were taken, and the value each must have.
        groups: What all runs share: model and data set, where the table names them.
        lines: The line of the file that each run stands in; the heading is line 1.
    """

    file: str
    loss: str
    knobs: list[dict[str, Value]]
    losses: list[float]
    others: list[dict[str, str]]
    where: dict[str, str]
    groups: dict[str, str]
    lines: list[int]


def read_table(path: Path, loss: str = "", where: Sequence[str] = (), extra: Sequence[str] = ()) -> RunTable:
    """Reads the runs of a CSV file.

    Args:
        path: The file; its first line names the columns.
        loss: The column that holds the loss; empty to take the only one of `LOSSES` that is there.
        where: Rows to take, each like `model=NAME`.
        extra: Columns that are knobs too, beside those that `KNOWN` names.

    Raises:
        SweepError: The file, a column or a cell is not what it must be; lines are named.
    """
    columns, lines = _read(path)
    loss = _loss_column(path, columns, loss)
    _check_columns(path, columns, extra, "--knob")
    wanted = _conditions(path, columns, where)
    taken = [(number, row) for number, row in lines if all(row[name] == value for name, value in wanted.items())]
    if not taken:
        raise SweepError(_no_row(path, wanted, [row for _, row in lines]))
    groups = _groups(path, columns, taken, extra)
    names = [c for c in columns if c != loss and c not in groups and c not in wanted and (c in KNOWN or c in extra)]
    if not names:
        raise SweepError(
            f"{path} has no column that is a knob; its columns: {', '.join(columns)}. "
            f"Known are {', '.join(KNOWN[1:6])}, …; --knob NAME makes any column one"
        )
    parsed = {name: _column(path, name, taken) for name in names}
    losses = _numbers(path, loss, taken)
    rest = [c for c in columns if c not in (loss, *names, *groups)]
    return RunTable(
        file=path.name,
        loss=loss,
        knobs=[{name: parsed[name][index] for name in names} for index in range(len(taken))],
        losses=losses,
        others=[{name: row[name] for name in rest} for _, row in taken],
        where=wanted,
        groups=groups,
        lines=[number for number, _ in taken],
    )


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Column names, and each row with the line it begins in; cells are stripped, empty lines skipped."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            heading = [name.strip() for name in next(reader, [])]
            lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except FileNotFoundError as error:
        raise SweepError(f"no file {path}; allowed: a CSV file whose first line names its columns") from error
    except OSError as error:
        raise SweepError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SweepError(f"{path} is not a CSV file in UTF-8: {error}") from error
    if not heading or not lines:
        raise SweepError(f"{path} has no rows; allowed: a line that names the columns, and a line a finished run")
    twins = sorted({name for name in heading if heading.count(name) > 1})
    if twins or "" in heading:
        what = f"two columns named {twins[0]!r}" if twins and twins[0] else "a column without a name"
        raise SweepError(f"{path} has {what}; every column needs a name of its own")
    ragged = [number for number, row in lines if len(row) != len(heading)]
    if ragged:
        raise SweepError(f"{path}, {_lines(ragged)}: not {len(heading)} cells, as the heading has")
    return heading, [(number, dict(zip(heading, row, strict=True))) for number, row in lines]


def _loss_column(path: Path, columns: Sequence[str], asked: str) -> str:
    if asked:
        _check_columns(path, columns, [asked], "--value")
        return asked
    found = [name for name in LOSSES if name in columns]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(columns)
    if not found:
        raise SweepError(
            f"{path} has no value column ({', '.join(LOSSES)}); its columns: {listed}. Name the loss: --value COLUMN"
        )
    raise SweepError(f"{path} has {' and '.join(found)}: say which is the loss, as in --value {found[0]}")


def _check_columns(path: Path, columns: Sequence[str], names: Sequence[str], option: str) -> None:
    for name in names:
        if name not in columns:
            raise SweepError(f"{path} has no column {name!r}, which {option} names; its columns: {', '.join(columns)}")


def _conditions(path: Path, columns: Sequence[str], where: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in where:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise SweepError(f"--where is {text!r}; allowed: COLUMN=VALUE, as in model=Qwen/Qwen3-8B")
        _check_columns(path, columns, [name], "--where")
        found[name] = value
    return found


def _no_row(path: Path, wanted: Mapping[str, str], rows: Sequence[Mapping[str, str]]) -> str:
    """Which values there are instead."""
    told = ", ".join(f"{name}={value}" for name, value in wanted.items())
    name = next(iter(wanted))
    values = list(dict.fromkeys(row[name] for row in rows))
    return f"{path} has no row with {told}; {name} there: {_some(values)}"


def _groups(
    path: Path, columns: Sequence[str], taken: Sequence[tuple[int, Mapping[str, str]]], extra: Sequence[str]
) -> dict[str, str]:
    """Model and data set of all rows; refused when there are several and nobody made them a knob."""
    groups = {}
    for name in GROUPS:
        if name not in columns or name in extra:
            continue
        values = list(dict.fromkeys(row[name] for _, row in taken))
        if len(values) > 1:
            raise SweepError(
                f"{path} holds {len(values)} values of {name}, and losses compare within one only: {_some(values)}.\n"
                f"Take one with --where {name}=NAME, or compare within each with --knob {name}"
            )
        groups[name] = values[0]
    return groups


def _column(path: Path, name: str, taken: Sequence[tuple[int, Mapping[str, str]]]) -> list[Value]:
    """A knob's values: whole numbers where all are, else numbers where all are, else text."""
    empty = [number for number, row in taken if not row[name]]
    if empty:
        raise SweepError(f"{path}, {_lines(empty)}: no {name}; every run needs a value of every knob")
    cells = [row[name] for _, row in taken]
    numbers = [_number(cell) for cell in cells]
    if name in NUMERIC:
        numbers = list(_numbers(path, name, taken))
    given = [number for number in numbers if number is not None]
    if len(given) < len(cells):
        return list(cells)
    return [int(number) for number in given] if all(number.is_integer() for number in given) else list(given)


def _numbers(path: Path, name: str, taken: Sequence[tuple[int, Mapping[str, str]]]) -> list[float]:
    found = [(line, row[name], _number(row[name])) for line, row in taken]
    bad = [(line, cell) for line, cell, number in found if number is None]
    if bad:
        raise SweepError(
            f"{path}, {_lines([line for line, _ in bad])}: {name} is {bad[0][1]!r}; allowed: a finite number. "
            "Leave runs that diverged out of the table"
        )
    return [number for _, _, number in found if number is not None]


def _number(cell: str) -> float | None:
    """A finite number; None for anything else. Python alone takes "1_000" for one."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in cell else None


def _lines(numbers: Sequence[int]) -> str:
    more = f" and {len(numbers) - MOST_NAMED} more" if len(numbers) > MOST_NAMED else ""
    return f"line{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers[:MOST_NAMED]))}{more}"


def _some(values: Sequence[str]) -> str:
    return ", ".join(values[:MOST_NAMED]) + (", …" if len(values) > MOST_NAMED else "")
