"""What is run to confirm a study: its leaders, with its own budget and data, at seeds that its search did not use."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import optuna
from optuna.storages import RDBStorage

from spaces.reading import read_space
from spaces.space import SearchSpace
from sweep.asked import Prepared
from sweep.confirm import CONFIRMS, leaders
from sweep.design import CONFIRM, SEED, chosen
from sweep.errors import SweepError
from sweep.options import SweepOptions
from sweep.results import Results
from sweep.study import FROM, IDENTITY, IMPORTED, SOURCE, load_study, stored_identity


def prepare(storage: RDBStorage, study: optuna.Study, options: SweepOptions, top: int) -> tuple[SweepOptions, Prepared]:
    """What a confirmation of a study runs.

    A confirmation that was begun goes on with the leaders that it began with, though the study may have others now.

    Args:
        storage: Where both studies are.
        study: The one that is to be confirmed.
        options: Storage, devices, budget and seeds as asked for; the rest comes from the study.
        top: Leaders to run again.

    Raises:
        SweepError: The study has nothing to confirm, or one of the confirmation's name confirms something else.
    """
    identity, source = study.user_attrs.get(IDENTITY), study.user_attrs.get(SOURCE)
    if identity is None or source is None or IMPORTED in identity:
        raise SweepError(f"study {study.study_name!r} was not run by this program; its settings cannot be run again")
    name = options.study or f"{study.study_name}-{CONFIRM}"
    space = stored_space(identity)
    searched = [knob.name for knob in space.search if knob.name != SEED]
    rows = Results(storage.engine, study.study_name).trials()
    begun = _begun(storage, name)
    if begun is None:
        led = leaders(study.study_name, rows, searched, top)
    else:
        _check_begun(name, begun, study.study_name, top, options.seeds)
        led = [row for number in begun["trials"] for row in rows if row["trial_number"] == number]
    # Seeds that the search has not seen: what led there by luck has to lead again.
    used = {int(row["config"][SEED]) for row in rows if row["config"]}
    seeds = begun["seeds"] if begun else [max(used) + 1 + place for place in range(options.seeds)]
    space = replace(space, search=tuple(knob for knob in space.search if knob.name != SEED))
    design = chosen(space, [row["params"] for row in led], seeds)
    settings = [{knob: value for knob, value in cell.items() if knob != SEED} for cell in design.cells]
    attributes = {
        CONFIRMS: {
            "study": study.study_name,
            "trials": [row["trial_number"] for row in led],
            "settings": settings[: len(led)],  # cells come seed by seed
            "seeds": list(seeds),
        }
    }
    began = source.get(FROM)
    told = replace(
        options,
        space=source["space"],
        model=source["model"],
        from_study=began["study"] if began else "",
        dataset=source["dataset"],
        study=name,
        seed=identity["seed"],
        design=CONFIRM,
        dtype=source["dtype"],
        pruner="none",
        early_stopping_patience=0,
        keep_adapters=len(design.cells),  # the cheapest may be chosen though it is not among the best
    )
    return told, Prepared(design, study.study_name, identity, attributes)


def stored_space(identity: Mapping[str, Any]) -> SearchSpace:
    """A study's space as it was searched, whatever its file says now."""
    resolved = dict(identity["space"]["resolved"])
    name = resolved.pop("name")
    return read_space(resolved, name, f"the space of the study ({name})")


def _begun(storage: RDBStorage, name: str) -> dict[str, Any] | None:
    exists, _ = stored_identity(storage, name)
    if not exists:
        return None
    begun = load_study(storage, name).user_attrs.get(CONFIRMS)
    if begun is None:
        raise SweepError(f"study {name!r} is no confirmation; give this one its own name with --study")
    return dict(begun)


def _check_begun(name: str, begun: Mapping[str, Any], study: str, top: int, seeds: int) -> None:
    if begun["study"] != study:
        raise SweepError(f"study {name!r} confirms {begun['study']!r}; give this one its own name with --study")
    # A study with fewer settings than asked for has all of them in it.
    if len(begun["trials"]) > top or len(begun["seeds"]) != seeds:
        raise SweepError(
            f"study {name!r} was begun with {len(begun['trials'])} leaders and {len(begun['seeds'])} seeds, and now "
            f"{top} and {seeds} are asked for. Give this one its own name with --study"
        )
