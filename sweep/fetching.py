"""Brings a trial's adapter from the store to the output folder, for whoever reads it there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna

from sweep.errors import SweepError
from sweep.shared import fetch_adapter, study_place
from sweep.store import StoreFault, open_store
from sweep.study import IDENTITY


def bring_adapter(row: Mapping[str, Any], study: optuna.Study, output: Path, address: str) -> None:
    """Has a trial's adapter in the output folder as it is in the store; does nothing where the store has none.

    Args:
        row: The trial's row of `sweep_trials`.
        study: Optuna's.
        output: The output folder.
        address: ARTIFACTS; empty for no store.

    Raises:
        SweepError: The store cannot be read, or the folder not be written.
    """
    if not address or row["config"] is None:
        return
    try:
        place = study_place(study.study_name, study.user_attrs.get(IDENTITY))
        fetch_adapter(open_store(address, output), place, row, output / row["folder"])
    except StoreFault as fault:
        raise SweepError(f"ARTIFACTS {address} cannot be read: {fault}") from fault
    except OSError as error:
        raise SweepError(f"cannot write to {output / row['folder']}: {error.strerror or error}") from error
