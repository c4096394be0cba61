from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from sweep.sweep_storage import SweepStorage
from tests.sweep.fakes import new_storage


@pytest.fixture(autouse=True)
def quiet_optuna() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SweepStorage]:
    """A new database in a file."""
    opened = new_storage(tmp_path / "storage.db")
    yield opened
    opened.engine.dispose()


@pytest.fixture
def study(storage: SweepStorage) -> optuna.Study:
    """An empty study in it."""
    return optuna.create_study(storage=storage, study_name="demo")
