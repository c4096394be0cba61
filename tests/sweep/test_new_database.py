from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest

from sweep.new_database import new_database, put_new
from sweep.storage import open_storage


@pytest.fixture(scope="module")
def database() -> bytes:
    return new_database()


def test_a_new_database_is_one_that_can_be_used(database: bytes, tmp_path: Path) -> None:
    file = tmp_path / "runs" / "sweep.db"
    put_new(database, str(file))
    assert [path.name for path in file.parent.iterdir()] == ["sweep.db"]
    study = optuna.create_study(storage=open_storage(str(file), create=False), study_name="s")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert len(study.trials) == 1


def test_one_that_is_there_is_left(database: bytes, tmp_path: Path) -> None:
    file = tmp_path / "sweep.db"
    optuna.create_study(storage=open_storage(str(file), create=True), study_name="kept")
    put_new(database, f"sqlite:///{file}")
    assert optuna.get_all_study_names(open_storage(str(file), create=False)) == ["kept"]


def test_many_at_once_make_one(database: bytes, tmp_path: Path) -> None:
    def make(number: int) -> None:
        put_new(database, str(tmp_path / "sweep.db"))
        optuna.create_study(storage=open_storage(str(tmp_path / "sweep.db"), create=True), study_name=str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(8)))
    names = optuna.get_all_study_names(open_storage(str(tmp_path / "sweep.db"), create=False))
    assert sorted(names) == [str(number) for number in range(8)]


@pytest.mark.parametrize("storage", ["postgresql+psycopg://localhost/x", "sqlite:////proc/none/sweep.db"])
def test_elsewhere_nothing_is_made(database: bytes, storage: str) -> None:
    put_new(database, storage)
