"""`sweep pack`, `unpack` and `merge`: a study as a file, from one machine to another."""

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sweep import cli_options as options
from sweep.errors import EnvironmentFault
from sweep.options import DEFAULT_OUTPUT, DEFAULT_STORAGE

To = Annotated[
    Path | None, typer.Option("--to", "-o", help="The file to write. Default: the study's name.", metavar="FILE")
]
Bundle = Annotated[Path, typer.Argument(help="What `sweep pack` wrote.", metavar="BUNDLE")]


def register(app: typer.Typer) -> None:
    """Adds the commands to the command line."""
    app.command("pack")(pack_command)
    app.command("unpack")(unpack_command)
    app.command("merge")(merge_command)


def pack_command(
    study: Annotated[str, typer.Argument(help="The study's name; `sweep list` shows them.")],
    to: To = None,
    storage: options.Storage = DEFAULT_STORAGE,
    output: options.Output = DEFAULT_OUTPUT,
) -> None:
    """Pack a study into one file, also while it runs: to go on with it on another machine."""
    from sweep.bundles.pack import pack
    from sweep.say import say
    from sweep.storage import open_storage
    from sweep.trial_files import study_folder

    _quiet()
    bundle = to or Path(f"{study_folder(Path(), study).name}.tar")
    with _faults(f"packing {study}"):
        packed = pack(open_storage(storage, create=False), study, output, bundle)
    say(
        Console(),
        [
            f"packed {study}: {_counted(packed.manifest.trials)}   {packed.bundle}, {_size(packed.size)}",
            *(f"note   {note}" for note in packed.notes),
            f"On the other machine: sweep unpack {shlex.quote(packed.bundle.name)}, then the same `make sweep` line",
        ],
    )


def unpack_command(
    bundle: Bundle,
    study: Annotated[str, typer.Option("--study", help="Another name for the study here.")] = "",
    storage: options.Storage = DEFAULT_STORAGE,
    output: options.Output = DEFAULT_OUTPUT,
) -> None:
    """Unpack a study that was packed elsewhere; then the same `make sweep` line goes on with it."""
    from sweep.bundles.unpack import unpack
    from sweep.say import say
    from sweep.storage import shown

    _quiet()
    with _faults(f"unpacking {bundle}"):
        unpacked = unpack(bundle, storage, output, study)
    manifest, name = unpacked.manifest, unpacked.study
    renamed = "" if name == manifest.study else f" STUDY={shlex.quote(name)}"
    say(
        Console(),
        [
            f"study {name} in {shown(storage)}: {_counted(manifest.trials)}   "
            f"packed {manifest.packed} from {manifest.machine.host}",
            *(f"differs  {difference}" for difference in unpacked.differences),
            *(f"needs  study {other}, which is not here: pack and unpack it too" for other in unpacked.needs),
            f"Next: the same `make sweep` line as there goes on with it, MODEL and DATASET as they lie here{renamed}",
        ],
    )


def merge_command(
    first: Bundle,
    second: Annotated[Path, typer.Argument(help="Another one, of the same study.", metavar="BUNDLE")],
    to: Annotated[Path, typer.Option("--to", "-o", help="The file to write.", metavar="FILE")],
) -> None:
    """Merge two bundles of one study that ran on two machines apart: every trial once."""
    from sweep.bundles.merge import merge
    from sweep.say import say

    _quiet()
    with _faults(f"merging {first} and {second}"):
        merged = merge(first, second, to)
    joined, packed = merged.joined, merged.packed
    moved = ", ".join(f"{old} is {new}" for old, new in sorted(joined.renumbered.items()))
    say(
        Console(),
        [
            f"merged {packed.manifest.study}: {_counted(packed.manifest.trials)}   {packed.bundle}, "
            f"{_size(packed.size)}",
            f"in both  {joined.common} trials; of {joined.replaced} the run in {second} came further and counts",
            *([f"numbers  of {second} that were taken: {moved}"] if moved else []),
            f"Next: sweep unpack {shlex.quote(str(packed.bundle))}   (--study NAME where there is one of that name)",
        ],
    )


@contextmanager
def _faults(doing: str) -> Iterator[None]:
    """Tells a fault of disk or database in a line.

    Raises:
        EnvironmentFault: There was one.
    """
    import sqlite3

    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (OSError, SQLAlchemyError, sqlite3.Error, optuna.exceptions.StorageInternalError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        told = str(getattr(cause, "orig", None) or cause).strip().splitlines() or [type(cause).__name__]
        raise EnvironmentFault(f"{doing} failed: {told[0]}\nNothing was left half done.") from error


def _quiet() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _counted(trials: Mapping[str, int]) -> str:
    total = sum(trials.values())
    told = ", ".join(f"{count} {state}" for state, count in sorted(trials.items()))
    return f"{total} trial{'' if total == 1 else 's'}" + (f" ({told})" if told else "")


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
