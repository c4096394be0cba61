"""The second stage: a study whose base model is another study's best trial, its adapter merged."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage

from spaces.space import SearchSpace
from sweep.budget import Budget
from sweep.errors import SweepError
from sweep.exports.winner import choose, find_adapter
from sweep.fetching import bring_adapter
from sweep.options import SweepOptions
from sweep.results import Results
from sweep.storage import open_storage
from sweep.study import FROM, IDENTITY, IMPORTED, SOURCE, differing, load_study
from sweep.sweep_storage import SweepStorage
from sweep.table import ranked
from sweep.trial_files import study_folder
from trials.default_model import NAME as DEFAULT_MODEL
from trials.merged import Merge, Origin, adapter_sha256, adapters_base

# The folder of merged models, in the first study's own.
MERGED = "merged"


@dataclass(frozen=True)
class Start:
    """Where a second stage starts from.

    Attributes:
        folder: The merged model's.
        origin: What it is made of.
        merge: How it is made; None when it is there.
        better: A trial of the first study that is better than the one that this study started from; None for none.
    """

    folder: Path
    origin: Origin
    merge: Merge | None = None
    better: Mapping[str, Any] | None = None

    def line(self) -> str:
        """What a sweep begins with."""
        return f"study {self.origin.study}, trial {self.origin.trial} ({_loss(self.origin.value)}), merged"

    def note(self) -> str | None:
        """That the first study has gone on, if it has found better since."""
        if self.better is None:
            return None
        return (
            f"study {self.origin.study} has a better trial now, {self.better['trial_number']} "
            f"({_loss(self.better['value'])}); this study goes on from {self.origin.trial}, so that its losses "
            "compare. To start from the better one, give another STUDY"
        )


def find_start(
    options: SweepOptions, name: str, stored: Mapping[str, Any] | None, space: SearchSpace, budget: Budget
) -> Start | None:
    """Where the study starts from; None without FROM_STUDY.

    A study that is there goes on from the trial that it began with.

    Args:
        options: What was asked for.
        name: The study's name.
        stored: What the study of that name is of; None when there is none, or when it may be given another name.
        space: What is to be tried.
        budget: Every trial's budget.

    Raises:
        SweepError: There is no such study, or nothing that could be started from.
    """
    if not options.from_study:
        return None
    if options.from_study == name:
        raise SweepError(f"FROM_STUDY is {name!r}, the study itself; give the second stage a name of its own: STUDY=…")
    storage = open_storage(options.storage, create=False)
    first = load_study(storage, options.from_study)
    _check_first(first, options, space, budget)
    began = _began_with(storage, name, first, stored)
    rows = Results(storage.engine, first.study_name).trials()
    best = next((row for row in ranked(rows) if row["state"] == "complete"), None)
    if began is None:
        if best is None:
            raise SweepError(f"study {first.study_name!r} has no complete trial yet; nothing to start from")
        bring_adapter(best, first, options.output, options.artifacts)
        began = _origin(first, best, find_adapter(best, options.output))
    folder, merge = _merged(storage, options, began)
    _check_model(options, first.study_name, folder)
    return Start(folder, began, merge, best if best is not None and best["value"] < began.value else None)


def _check_first(first: optuna.Study, options: SweepOptions, space: SearchSpace, budget: Budget) -> None:
    """Refuses a study that no second stage can follow."""
    name, identity = first.study_name, first.user_attrs.get(IDENTITY)
    if identity is None or IMPORTED in identity:
        whence = "another program" if identity is None else f"{identity[IMPORTED]['file']}, which it was imported from"
        raise SweepError(f"study {name!r} has no adapter to start from: its trials come from {whence}")
    stage = identity["space"]["resolved"]["stage"]
    if (stage, space.stage) == ("sft", "pt"):
        raise SweepError(
            f"study {name!r} is of stage sft, and {space.name} of stage pt; pre-training comes first (guide 4.3). "
            "Allowed: a space of stage sft"
        )
    same_rows = stage == space.stage and _same_data(first.user_attrs[SOURCE]["dataset"], options.dataset, stage)
    before = {"seed": identity["seed"], **{key: identity["budget"].get(key) for key in ("val_size", "cutoff_len")}}
    now = {"seed": options.seed, "val_size": budget.val_size, "cutoff_len": budget.cutoff_len}
    if same_rows and before != now:
        changed = ", ".join(f"{key} {before[key]}, now {now[key]}" for key in now if before[key] != now[key])
        raise SweepError(
            f"study {name!r} has the same data set in another split ({changed}): its trials have been trained on rows "
            "that this study would evaluate on. Give the same, or other data"
        )


def _same_data(before: str, now: str, stage: str) -> bool:
    default = {"sft": "chitchat", "pt": "pydoc"}[stage]
    places = [Path(name).expanduser().absolute() if name else default for name in (before, now)]
    return (before or default) == (now or default) or places[0] == places[1]


def _began_with(storage: RDBStorage, name: str, first: optuna.Study, stored: Mapping[str, Any] | None) -> Origin | None:
    """What a study that is there began with.

    Raises:
        SweepError: With something else than this first study.
    """
    if stored is None:
        return None
    source = load_study(storage, name).user_attrs.get(SOURCE)
    if source is None:  # it was killed as it began; once the model is loaded, the identities are compared
        return None
    found = source.get(FROM)
    if found is None or found["study"] != first.study_name:
        raise differing(name, [f"another model ({stored['model']['name']}, now one from study {first.study_name})"])
    return Origin(**found)


def _origin(first: optuna.Study, row: Mapping[str, Any], adapter: Path) -> Origin:
    """What merging a trial's adapter will give."""
    identity, dtype = first.user_attrs[IDENTITY], first.user_attrs[SOURCE]["dtype"]
    base = identity["model"]
    try:
        digest = adapter_sha256(adapter)
    except (OSError, ValueError) as error:
        raise SweepError(f"the adapter {adapter} cannot be read: {error}") from error
    return Origin(
        name=f"{base['name']} + {first.study_name} trial {row['trial_number']}",
        study=first.study_name,
        trial=row["trial_number"],
        value=row["value"],
        base_name=base["name"],
        base_fingerprint=base["fingerprint"],
        adapter_sha256=digest,
        dtype=dtype,
    )


def _merged(storage: SweepStorage, options: SweepOptions, origin: Origin) -> tuple[Path, Merge | None]:
    """A merged model's folder, and how it is made when it is not there: its base may be a merged model too.

    Raises:
        SweepError: It is not there, and cannot be made.
    """
    place = f"{origin.trial:05d}-{origin.adapter_sha256[:8]}"
    output = options.output
    folder = study_folder(output, origin.study) / MERGED / place
    if folder.exists():
        return folder, None
    first = load_study(storage, origin.study)
    row = choose(origin.study, Results(storage.engine, origin.study).trials(), origin.trial)
    bring_adapter(row, first, output, options.artifacts)
    adapter = find_adapter(row, output)
    if _origin(first, row, adapter).adapter_sha256 != origin.adapter_sha256:
        raise SweepError(
            f"trial {origin.trial} of study {origin.study!r} is not the one that was started from: its adapter is "
            f"another now, and the merged model in {folder} is gone. Give the study another name: STUDY=…"
        )
    source = first.user_attrs[SOURCE]
    if source.get(FROM) is not None:
        base_folder, before = _merged(storage, options, Origin(**source[FROM]))
        return folder, Merge(str(base_folder), adapter, folder, origin, before)
    # As the adapter has it: a path that was asked for may have been relative to another folder.
    base = "" if source["model"] in ("", DEFAULT_MODEL) else adapters_base(adapter)
    return folder, Merge(base, adapter, folder, origin)


def _check_model(options: SweepOptions, first: str, folder: Path) -> None:
    """Refuses a MODEL beside FROM_STUDY, unless both are the same."""
    if options.model and Path(options.model).expanduser().absolute() != folder.absolute():
        raise SweepError(
            f"MODEL is {options.model!r} and FROM_STUDY {first!r}, whose best trial, merged, is a model of its own; "
            "give one of the two"
        )


def _loss(value: float) -> str:
    return f"evaluation loss {value:.3f}"
