"""Makes a study of a table of finished runs, so that it can be listed, shown, compared and opened in a dashboard."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from sweep.errors import SweepError
from sweep.names import check_study_name
from sweep.results import Results
from sweep.run_table import RunTable, Value
from sweep.study import IDENTITY, IMPORTED, METRIC
from sweep.sweep_storage import SweepStorage
from sweep.version import __version__

# A positive knob whose largest value is this many times its smallest was laid out on a logarithmic grid.
LOG_SPAN = 8


def study_name(table: RunTable) -> str:
    """What a study of a table is called unless the user says so: the file, and what was taken of it."""
    stem = table.file.rsplit(".", 1)[0]
    return "-".join([stem, *(value.rsplit("/", 1)[-1] for value in table.where.values())])


def import_table(storage: SweepStorage, name: str, table: RunTable) -> optuna.Study:
    """Makes the study; nothing of it is left when that fails.

    Args:
        storage: Where to.
        name: The study's name, which no other has.
        table: The runs.

    Raises:
        SweepError: There is a study of that name, or no study can have it.
    """
    check_study_name(name)
    if name in optuna.get_all_study_names(storage):
        raise SweepError(f"there is a study named {name!r} already; give this one another name with --study")
    study = optuna.create_study(storage=storage, study_name=name, direction="minimize")
    try:
        study.set_metric_names([METRIC])
        study.set_user_attr(IDENTITY, identity(table))
        distributions = {knob: distribution([knobs[knob] for knobs in table.knobs]) for knob in table.knobs[0]}
        rows = zip(table.knobs, table.losses, table.others, table.lines, strict=True)
        study.add_trials(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE,
                value=loss,
                params=dict(knobs),
                distributions=distributions,
                user_attrs={"imported": f"{table.file}, line {line}", **others},
            )
            for knobs, loss, others, line in rows
        )
        reasons = [f"imported from line {line}" for line in table.lines]
        Results(storage.engine, name).add_imported(table.knobs, table.losses, reasons)
    except BaseException:
        optuna.delete_study(study_name=name, storage=storage)
        raise
    return study


def identity(table: RunTable) -> dict[str, Any]:
    """What the study is of, in the shape of `Identity`, and that it was imported."""
    rows = [table.knobs, table.losses]
    fingerprint = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()[:16]
    levels = {knob: {"choice": _levels([knobs[knob] for knobs in table.knobs])} for knob in table.knobs[0]}
    space = {"name": "imported", "search": levels, "fixed": {}, "derived": {}, "constraints": [], "start": []}
    return {
        "space": {"name": "imported", "fingerprint": fingerprint, "resolved": space},
        "model": {"name": table.groups.get("model", "model unknown"), "fingerprint": ""},
        "data": {"name": table.groups.get("dataset", f"{table.file} ({table.loss})"), "fingerprint": ""},
        "budget": {},
        "seed": None,
        "code": __version__,
        IMPORTED: {"file": table.file, "value": table.loss, "where": table.where, "rows": len(table.losses)},
    }


def distribution(values: Sequence[Value]) -> BaseDistribution:
    """The range that a knob's values came from, as near as a table tells: text is a choice, numbers span a range."""
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return CategoricalDistribution([str(level) for level in _levels(values)])
    low, high = min(numbers), max(numbers)
    log = low > 0 and high / low >= LOG_SPAN
    if all(isinstance(number, int) for number in numbers):
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(float(low), float(high), log=log)


def _levels(values: Sequence[Value]) -> list[Value]:
    return sorted(set(values), key=lambda value: (isinstance(value, str), value))
