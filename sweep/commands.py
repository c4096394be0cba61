"""What each command does, between the command line and the rooms."""

import contextlib
import json
import random
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from rich.console import Console

from spaces.load import list_spaces, load_space
from spaces.parameter import Choice, Parameter
from sweep.claims import tally
from sweep.compare_study import ended_trials
from sweep.confirm import CONFIRMS
from sweep.confirm_words import chosen_run
from sweep.confirm_words import lines as confirmation
from sweep.design import CONFIRM
from sweep.errors import SweepError
from sweep.export import check_format, export
from sweep.exports.winner import Winner, choose
from sweep.faults import explained
from sweep.findings import read_findings
from sweep.observations import observe
from sweep.options import DEFAULT_STORAGE, SweepOptions
from sweep.results import Results
from sweep.say import program, say
from sweep.storage import open_storage, shown
from sweep.study import IDENTITY, IMPORTED, SOURCE, finished_trials, load_study, start_loss
from sweep.summary import next_steps, summary
from sweep.table import table
from sweep.trial_files import study_folder
from sweep.verdicts import verdict_lines

if TYPE_CHECKING:
    from sweep.sweeper import Outcome

# Trials in the table at a run's end; `sweep show` has them all.
SHOWN_AT_END = 10
INTERRUPTED = 130  # what shells call an exit after Ctrl-C


def run_command(options: SweepOptions) -> int:
    """Runs a sweep and says what came of it; the exit status."""
    from sweep.sweeper import run_sweep

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    console = Console()
    return _ended(run_sweep(options, console), options, console)


def confirm_command(study_name: str, options: SweepOptions, top: int) -> int:
    """Runs a study's leaders again and says which one to use; the exit status."""
    from sweep.confirming import prepare
    from sweep.sweeper import run_sweep

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    console = Console()
    storage = open_storage(options.storage, create=False)
    asked, prepared = prepare(storage, load_study(storage, study_name), options, top)
    return _ended(run_sweep(asked, console, prepared), asked, console)


def _ended(outcome: "Outcome", options: SweepOptions, console: Console) -> int:
    """Says what came of a sweep; the exit status."""
    if outcome.interrupted and outcome.finished < outcome.total:
        saved = f"{outcome.saved} trial{'' if outcome.saved == 1 else 's'} saved"
        say(console, [f"{saved}, {outcome.finished} finished. Go on with the same line."])
        return INTERRUPTED
    with explained(options.storage):
        say(console, ["", *_findings(outcome.study_name, options.storage, SHOWN_AT_END)])
    confirmable = options.design != CONFIRM and outcome.complete > 1
    told = next_steps(outcome.study_name, options.storage, DEFAULT_STORAGE, program(), confirmable=confirmable)
    say(console, ["", *told])
    return 0


def show_command(study_name: str, storage: str) -> None:
    """Prints a study's ranked table and findings."""
    say(Console(), _findings(study_name, storage, None))


def list_command(storage: str) -> None:
    """Prints the studies of a database."""
    opened = open_storage(storage, create=False)
    lines = []
    for name in sorted(optuna.get_all_study_names(opened)):
        study = load_study(opened, name)
        identity = study.user_attrs.get(IDENTITY)
        what = (
            f"{identity['space']['name']}, {identity['model']['name']}, {identity['data']['name']}" if identity else "?"
        )
        value = opened.best_value(study._study_id)
        best = "no complete trial" if value is None else f"best {value:.3f}"
        lines.append(f"{name}   {tally(study).finished} finished, {best}   {what}")
    say(Console(), lines or [f"no study in {shown(storage)} yet"])


def import_command(
    file: Path, study: str, storage: str, value: str, where: Sequence[str], knobs: Sequence[str]
) -> None:
    """Makes a study of a table of finished runs, and says how its columns were read."""
    from sweep.importing import import_table, study_name
    from sweep.run_table import read_table

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table = read_table(file, value, where, knobs)
    name = study or study_name(table)
    import_table(open_storage(storage, create=True), name, table)
    runs = len(table.losses)
    lines = [
        f"study {name} in {shown(storage)}: {runs} run{'' if runs == 1 else 's'} of {table.file}",
        f"  loss    {table.loss}",
        f"  knobs   {', '.join(table.knobs[0])}",
    ]
    if table.others[0]:
        lines.append(f"  noted   {', '.join(table.others[0])}: no knobs as far as known; --knob NAME makes one")
    place = "" if storage == DEFAULT_STORAGE else f" --storage {shlex.quote(shown(storage))}"
    say(Console(), [*lines, f"Next: {program()} show {shlex.quote(name)}{place}"])


def compare_command(study_name: str, storage: str, by: str, reference: str, at: Sequence[str], as_json: bool) -> None:
    """Compares the levels of a knob, or of two, and says what can be told apart."""
    from sweep.compare import compare, restrict
    from sweep.compare_study import plain, words

    opened = open_storage(storage, create=False)
    study = load_study(opened, study_name)
    identity = study.user_attrs.get(IDENTITY)
    if identity is None:
        raise SweepError(f"study {study_name!r} was not made by this program; `make dashboard` shows it")
    results = Results(opened.engine, study_name)
    ended = ended_trials(results.curves(), results.trials(), identity["space"]["resolved"], start_loss(study))
    runs = observe(ended)
    found = compare(restrict(runs, at), by, reference, unused=len(ended) - len(runs))
    if as_json:
        print(json.dumps(plain(found, study_name), indent=2))
    else:
        say(Console(), words(found, study_name))


def export_command(
    study_name: str,
    storage: str,
    number: int | None,
    to: Path | None,
    output: Path,
    form: str = "llamafactory",
    artifacts: str = "",
) -> None:
    """Writes a trial for another program, its adapter beside."""
    from sweep.fetching import bring_adapter

    check_format(form)
    opened = open_storage(storage, create=False)
    study = load_study(opened, study_name)
    identity = study.user_attrs.get(IDENTITY)
    if identity is None or IMPORTED in identity:
        whence = "another program" if identity is None else f"{identity[IMPORTED]['file']}, which it was imported from"
        raise SweepError(f"study {study_name!r} has no adapter to export: its trials come from {whence}")
    results = Results(opened.engine, study_name)
    rows, confirms = results.trials(), study.user_attrs.get(CONFIRMS)
    confirmed = chosen_run(results, rows, confirms) if confirms and number is None else None
    runs = observe(ended_trials(results.curves(), rows, identity["space"]["resolved"], start_loss(study)))
    winner = Winner(
        study=study_name,
        row=confirmed or choose(study_name, rows, number),
        identity=identity,
        source=study.user_attrs[SOURCE],
        ended=len(finished_trials(study)),
        place="a run of the setting to use, one" if confirmed else "the best" if number is None else "asked for among",
        verdicts=tuple(f"{label}: {text}" for label, text in verdict_lines(runs)),
    )
    bring_adapter(winner.row, study, output, artifacts)
    say(Console(), export(winner, output, to or study_folder(Path("exports"), study_name), form))


def dashboard_command(storage: str, host: str, port: int, output: Path, artifacts: str = "") -> None:
    """Serves optuna-dashboard until it is stopped."""
    from sweep.board import refresh_all
    from sweep.serve import address, is_private, make_dashboard

    opened = open_storage(storage, create=False)
    server = make_dashboard(opened, host, port, output, artifacts)
    console = Console()
    refresh_all(opened)
    if not is_private(server):
        told = "the dashboard has no login: whoever reaches it can read, change and delete the studies"
        say(console, [f"warning: {host} can be reached from other machines, and {told}"])
    say(console, [f"dashboard of {shown(storage)} on {address(server, host)}   (Ctrl-C stops it)"])
    with contextlib.suppress(KeyboardInterrupt), server:
        server.serve_forever()


def spaces_command() -> None:
    """Prints the shipped spaces, a line each."""
    found = list_spaces()
    width = max(len(space.name) for space in found)
    say(
        Console(),
        [f"{space.name:<{width}}   {' '.join(space.description.split())}" for space in found],
    )


def space_command(name_or_file: str) -> None:
    """Prints a resolved space."""
    space = load_space(name_or_file)
    settings, continuous = space.settings()
    guide = f" (guide {space.guide})" if space.guide else ""
    lines = [
        f"{space.name}{guide}, stage {space.stage}: {' '.join(space.description.split())}",
        "",
        "searched",
    ]
    lines += [f"  {parameter.name:<22} {_range(parameter)}" for parameter in space.search]
    for title, part in (
        ("fixed", space.fixed),
        ("derived", space.to_dict()["derived"]),
        ("constraints", space.to_dict()["constraints"]),
    ):
        if part:
            lines += [title, *(f"  {name:<22} {_value(value)}" for name, value in part.items())]
    lines += ["starts with", *(f"  {_pairs(point)}" for point in space.start)] if space.start else []
    counted = " × ".join([f"{settings:,} settings", *continuous])
    generator = random.Random(0)
    example = space.walk(lambda parameter: _draw(parameter, generator))
    say(Console(), [*lines, "", counted, f"for example  {_pairs(example)}"])


def _findings(study_name: str, storage: str, most: int | None) -> list[str]:
    opened = open_storage(storage, create=False)
    study = load_study(opened, study_name)
    results = Results(opened.engine, study_name)
    read = read_findings(study, results)
    told = summary(read.head, read.facts)
    confirms = study.user_attrs.get(CONFIRMS)
    if confirms is not None:
        told = confirmation(results, read.rows, confirms)  # the best of its runs is none of its findings
    return [*table(read.rows, most), "", *told] if read.rows else told


def _range(parameter: Parameter) -> str:
    if isinstance(parameter, Choice):
        text = ", ".join(map(_value, parameter.options))
    else:
        text = f"{_value(parameter.low)} .. {_value(parameter.high)}{', log' if parameter.log else ''}"
    if parameter.when is None:
        return text
    otherwise = "" if parameter.otherwise is None else f", else {_value(parameter.otherwise)}"
    return f"{text}   when {parameter.when.text}{otherwise}"


def _draw(parameter: Parameter, generator: random.Random) -> Any:
    """A random value for an example; the search itself draws by Optuna."""
    if isinstance(parameter, Choice):
        return generator.choice(parameter.options)
    if isinstance(parameter.low, int) and isinstance(parameter.high, int):
        return generator.randint(parameter.low, parameter.high)
    return float(f"{generator.uniform(parameter.low, parameter.high):.3g}")


def _pairs(values: Any) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    """A value as a space file has it: 5e-5, not 5e-05 or 0.00005."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "+".join(map(_value, value))
    if isinstance(value, float) and 0 < abs(value) < 0.01:
        digits, exponent = f"{value:.5e}".split("e")
        return f"{float(digits):g}e{int(exponent)}"
    return str(value)
