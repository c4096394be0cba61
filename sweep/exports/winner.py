"""The trial that is exported, where its adapter is, and what it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.errors import SweepError
from sweep.study import FROM
from sweep.table import ranked
from trials.adapter_files import SETTINGS, check_adapter
from trials.folders import ADAPTER


@dataclass(frozen=True)
class Winner:
    """The trial that is exported.

    Attributes:
        study: The study's name.
        row: Its row of `sweep_trials`.
        identity: What the study is of (`sweep.study.Identity` as plain data).
        source: MODEL and DATASET as they were asked for, and the data set's form and rows.
        ended: Finished trials of the study.
        place: "the best", or that it was asked for.
        verdicts: What the study found of its knobs, a line each.
    """

    study: str
    row: Mapping[str, Any]
    identity: Mapping[str, Any]
    source: Mapping[str, Any]
    ended: int
    place: str = "the best"
    verdicts: tuple[str, ...] = ()

    @property
    def config(self) -> Mapping[str, Any]:
        """The trial's training fields (`TrialConfig` as plain data)."""
        config: Mapping[str, Any] = self.row["config"]
        return config

    @property
    def cutoff_len(self) -> int:
        """The full run's cut in tokens: the space's own, where trials were cut shorter to save time."""
        cut: int = self.row["params"].get("cutoff_len", self.config["cutoff_len"])
        return cut

    def evidence(self) -> list[str]:
        """What an exported file rests on, in lines of comment."""
        row, config = self.row, self.config
        value = f"{row['value']:.4f}" if row["value"] is not None else "unknown"
        return [
            f"Trial {row['trial_number']} of the study {self.study}, {self.place} of {self.ended} finished trials: "
            f"evaluation loss {value} nats per token.",
            f"Space {self.identity['space']['name']}, model {self.identity['model']['name']}, "
            f"data {self.identity['data']['name']}.",
            f"The trial saw {config['max_rows'] or 'all'} rows cut at {config['cutoff_len']} tokens; "
            "this file is for the full run.",
            *self._merged_base(),
            *self.verdicts,
        ]

    def _merged_base(self) -> list[str]:
        """Where the base comes from, when it is another study's trial."""
        origin = self.source.get(FROM)
        if origin is None:
            return []
        return [
            f"The base is {origin['base_name']} with the adapter of trial {origin['trial']} of the study "
            f"{origin['study']} (evaluation loss {origin['value']:.4f}) merged into it: keep its folder."
        ]


def choose(study: str, rows: list[dict[str, Any]], number: int | None) -> Mapping[str, Any]:
    """The trial to export: the best complete one, or the one of that number.

    Raises:
        SweepError: There is no such trial.
    """
    complete = [row for row in ranked(rows) if row["state"] == "complete"]
    if number is None:
        if not complete:
            raise SweepError(f"study {study!r} has no complete trial yet; nothing to export")
        return complete[0]
    for row in rows:
        if row["trial_number"] == number:
            return row
    numbers = f"it has {len(rows)}, the last is {rows[-1]['trial_number']}" if rows else "it has none yet"
    raise SweepError(f"study {study!r} has no trial {number}; {numbers}")


def find_adapter(row: Mapping[str, Any], output: Path, hint: str = "") -> Path:
    """The folder of a trial's adapter.

    Args:
        row: The trial's row of `sweep_trials`.
        output: The sweep's output folder.
        hint: What the error adds.

    Raises:
        SweepError: It has been deleted, or is elsewhere.
        AdapterError: It is damaged or pickled.
    """
    adapter: Path = output / row["folder"] / ADAPTER
    if not (adapter / SETTINGS).is_file():
        raise SweepError(
            f"trial {row['trial_number']} has no adapter at {adapter}: only the best are kept, on the machine that "
            f"trained them and in ARTIFACTS.{hint}"
        )
    check_adapter(adapter)
    return adapter
