from pathlib import Path

import optuna
import pytest

from tests.sweep.bundles.studies import packed, play_all
from tests.sweep.fakes import FakeSweep


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> FakeSweep:
    """A study with trials in every state; not to be changed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return play_all(tmp_path_factory.mktemp("played"))


@pytest.fixture(scope="session")
def bundle(played: FakeSweep, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It, packed."""
    file = tmp_path_factory.mktemp("bundle") / "demo.tar"
    packed(played, file)
    return file
