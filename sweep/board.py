"""What optuna-dashboard shows of a whole study: a note that sums it up, and its plots, kept up to date.

All that is written of one moment is written in one transaction: a page that is read meanwhile shows the moment before.
"""

import json
import time
from collections.abc import Callable
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.exceptions import StorageInternalError
from optuna_dashboard import get_note, save_note, save_plotly_graph_object
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from sweep.confirm import CONFIRMS
from sweep.confirm_words import lines as confirmation
from sweep.findings import Findings, read_findings
from sweep.markdown import literal
from sweep.report.words import asked, status
from sweep.results import Results
from sweep.study import IDENTITY
from sweep.sweep_storage import SweepStorage
from sweep.version import __version__

# Seconds between two refreshes while a study runs; and how many times what one took, so that they stay a small part.
LEAST_SECONDS = 30.0
PATIENCE = 30.0
# Curves in the dashboard's plot: it sends all plots of a study again every few seconds.
MOST_CURVES = 150
# Under this line of the note stands what people wrote.
SEAM = "*Kept up to date by LoRA Sweep down to this line; what you write below it stays.*"
# The study's attribute that says at which state of its trials all this was written.
SHOWN_AT = "sweep:board"
_ATTRIBUTES = sa.table("study_system_attributes", *map(sa.column, ("study_id", "key", "value_json")))


class Board:
    """Keeps what the dashboard shows of one study up to date, at most every so often."""

    def __init__(self, study: optuna.Study, storage: SweepStorage, clock: Callable[[], float] = time.monotonic) -> None:
        self._study, self._storage, self._clock = study, storage, clock
        self._begun = clock()
        self._next = self._begun + LEAST_SECONDS

    def moved(self) -> None:
        """A trial has ended: writes all anew if the last time is long enough ago."""
        if self._clock() >= self._next:
            self.refresh()

    def finish(self) -> None:
        """The session ends: writes all anew, unless it was so short that opening the dashboard does it soon enough."""
        if self._clock() - self._begun >= LEAST_SECONDS:
            self.refresh()

    def refresh(self) -> None:
        """Writes all anew."""
        begun = self._clock()
        write_board(self._study, self._storage)
        now = self._clock()
        self._next = now + max(LEAST_SECONDS, PATIENCE * (now - begun))


def refresh_all(storage: SweepStorage) -> int:
    """Writes all of each study that has changed since it was last written; how many had.

    A database that cannot be written is shown as it is.
    """
    changed = 0
    for summary in optuna.get_all_study_summaries(storage, include_best_trial=False):
        if summary.user_attrs.get(IDENTITY) is None:
            continue
        study = optuna.load_study(storage=storage, study_name=summary.study_name)
        if storage.get_study_system_attrs(study._study_id).get(SHOWN_AT) == _moment(study, storage):
            continue
        try:
            write_board(study, storage)
        except (SQLAlchemyError, StorageInternalError):
            break
        changed += 1
    return changed


def write_board(study: optuna.Study, storage: SweepStorage) -> None:
    """Writes a study's note and plots."""
    from sweep.figures.all_plots import all_plots  # loads plotly, for which no sweep waits
    from sweep.figures.theme import ANY

    moment = _moment(study, storage)
    results = Results(storage.engine, study.study_name)
    read = read_findings(study, results)
    batch = _Batch(storage)
    through = optuna.Study(study.study_name, batch)  # type: ignore[arg-type]
    written = get_note(through)
    note = f"{_note(study, results, read)}\n\n{SEAM}\n{_own(written)}"
    if note != written:
        save_note(through, note)
    for plot in all_plots(read.rows, read.curves, results.machines(), read.comparisons, MOST_CURVES):
        plot.figure.update_layout(
            template=ANY,
            title={"text": plot.title, "x": 0.01, "yref": "container", "y": 0.98, "yanchor": "top"},
            margin={"t": 90},
        )
        save_plotly_graph_object(through, plot.figure, graph_object_id=plot.key)
    batch.set_study_system_attr(study._study_id, SHOWN_AT, moment)
    batch.write()


def _own(note: str) -> str:
    """What people wrote into the note."""
    return note.rsplit(SEAM, 1)[-1].lstrip("\n") if note else ""


def _note(study: optuna.Study, results: Results, read: Findings) -> str:
    """The study in Markdown: what was asked, how far it is, and what was found."""
    told = [(label, text) for label, text in asked(read) if label != "held fixed"]
    confirms = study.user_attrs.get(CONFIRMS)
    lines = [f"**{literal(status(read))}**", "", literal(read.head)]
    if confirms is not None:
        lines[2:] = [f"- {literal(line)}" for line in confirmation(results, read.rows, confirms) if line]
    else:
        lines += ["", *(f"- **{literal(label)}**: {literal(text)}" for label, text in read.facts)]
    return "\n".join([*lines, "", *(f"- {literal(label)}: {literal(text)}" for label, text in told)])


def _moment(study: optuna.Study, storage: SweepStorage) -> str:
    """What is different as soon as a trial has ended, begun or reported."""
    marks = storage.marks(study._study_id, -1)
    states = sorted(state.name for _, state, _ in marks)
    counted = {state: states.count(state) for state in dict.fromkeys(states)}
    return f"{__version__} {counted} {sum(made for _, _, made in marks)}"


class _Batch:
    """A storage that keeps a study's attributes back, to write them together."""

    def __init__(self, storage: SweepStorage) -> None:
        self._storage = storage
        self._kept: dict[tuple[int, str], Any] = {}

    def __getattr__(self, name: str) -> Any:
        """Whatever else is asked of it, the storage answers."""
        return getattr(self._storage, name)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Keeps an attribute back."""
        self._kept[study_id, key] = value

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """The attributes as they will be."""
        kept = {key: value for (study, key), value in self._kept.items() if study == study_id}
        return {**self._storage.get_study_system_attrs(study_id), **kept}

    def write(self) -> None:
        """Writes all in one transaction; of two machines that do it at once, one."""
        table = _ATTRIBUTES
        try:
            with self._storage.engine.begin() as connection:
                for (study, key), value in sorted(self._kept.items()):
                    told = {"value_json": json.dumps(value)}
                    where = sa.and_(table.c.study_id == study, table.c.key == key)
                    if connection.execute(sa.update(table).where(where).values(told)).rowcount == 0:
                        connection.execute(table.insert().values(study_id=study, key=key, **told))
        except IntegrityError:
            return  # another machine made the same attributes meanwhile
        finally:
            self._kept.clear()
