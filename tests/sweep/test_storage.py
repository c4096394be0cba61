"""The database: what is refused and in which words, and that nothing is lost or handed out twice."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import TrialState, create_trial

from sweep.contenders import PARKED
from sweep.errors import SweepError
from sweep.storage import check_storage, open_storage, parse_url, shown
from sweep.sweep_storage import SweepStorage
from tests.sweep.fakes import new_storage

THREADS = 8
# They stand for `study.optimize`, which alone gives signs of life.
pytestmark = pytest.mark.filterwarnings("ignore:Heartbeat of storage")


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(SweepError) as error:
        action()
    return str(error.value)


def at_once(work: Callable[[int], None]) -> None:
    """Does `work` in several threads that begin together; raises what one of them raised."""
    barrier, errors = threading.Barrier(THREADS), list[BaseException]()

    def run(place: int) -> None:
        try:
            barrier.wait()
            work(place)
        except BaseException as error:  # noqa: BLE001 — whatever it is, the test is to fail with it
            errors.append(error)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


@pytest.mark.parametrize(
    ("storage", "url"),
    [
        ("runs/sweep.db", "sqlite:///runs/sweep.db"),
        ("sqlite:///x.db", "sqlite:///x.db"),
        ("postgresql+psycopg://me@host/db", "postgresql+psycopg://me@host/db"),
    ],
)
def test_a_path_is_a_sqlite_file_and_a_url_is_itself(storage: str, url: str) -> None:
    assert parse_url(storage).render_as_string() == url


def test_a_path_in_the_home_folder_is_found_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    open_storage("~/new/sweep.db", create=True).engine.dispose()
    assert (tmp_path / "new" / "sweep.db").exists()


@pytest.mark.parametrize("name", ["a b.db", "a?b.db", "a#b.db", "a%41.db", "ä.db", "a:b.db", "a'b.db"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    open_storage(str(tmp_path / name), create=True).engine.dispose()
    assert {file.name.removesuffix("-wal").removesuffix("-shm") for file in tmp_path.iterdir()} == {name}


@pytest.mark.parametrize(
    ("storage", "text"),
    [
        ("runs/sweep.db", "runs/sweep.db"),
        ("sqlite:///runs/sweep.db", "runs/sweep.db"),
        ("postgresql://me:secret@host:5432/db", "postgresql+psycopg://me:***@host:5432/db"),
        ("postgres://me@host/db?password=secret&sslmode=require", "postgresql+psycopg://me@host/db"),
    ],
)
def test_an_address_is_shown_without_its_password(storage: str, text: str) -> None:
    assert shown(storage) == text


@pytest.mark.parametrize(
    "storage",
    [
        "postgresql+nothing://me:secret@127.0.0.1:1/db",
        "nothing://me:secret@127.0.0.1/db?password=secret",
        "postgresql://me:secret@host:secret/db",
        "://me:secret",
    ],
)
@pytest.mark.parametrize("action", [check_storage, lambda url: open_storage(url, create=True)])
def test_no_error_tells_the_password(storage: str, action: Callable[[str], object]) -> None:
    assert "secret" not in refusal(lambda: action(storage))


@pytest.mark.parametrize("storage", ["://", "a://b://c", "postgresql://host:port/db"])
def test_what_is_no_address_is_refused_with_what_is_allowed(storage: str) -> None:
    assert "allowed: a SQLite file like runs/sweep.db" in refusal(lambda: parse_url(storage))


def test_an_empty_address_is_refused() -> None:
    assert "STORAGE is empty" in refusal(lambda: parse_url(""))


@pytest.mark.parametrize("storage", ["sqlite://", "sqlite:///:memory:", "sqlite:///file::memory:?uri=true"])
def test_a_database_in_memory_is_refused(storage: str) -> None:
    assert "database in memory" in refusal(lambda: open_storage(storage, create=True))


@pytest.mark.parametrize("action", [check_storage, lambda path: open_storage(path, create=True)])
class TestWhatCannotBeWritten:
    """Found before anything is loaded, with the database's own words."""

    def test_a_folder(self, tmp_path: Path, action: Callable[[str], object]) -> None:
        assert "unable to open database file" in refusal(lambda: action(str(tmp_path)))

    def test_a_file_that_is_something_else(self, tmp_path: Path, action: Callable[[str], object]) -> None:
        file = tmp_path / "notes.txt"
        file.write_text("no database " * 100, encoding="utf8")
        assert refusal(lambda: action(str(file))).endswith("notes.txt cannot be opened: file is not a database")

    def test_a_file_below_a_file(self, tmp_path: Path, action: Callable[[str], object]) -> None:
        (tmp_path / "file").touch()
        assert "cannot be made" in refusal(lambda: action(str(tmp_path / "file" / "sweep.db")))

    def test_a_database_that_can_only_be_read(self, tmp_path: Path, action: Callable[[str], object]) -> None:
        file = tmp_path / "sweep.db"
        open_storage(str(file), create=True).engine.dispose()
        read_only = f"sqlite:///file:{file}?mode=ro&uri=true"
        assert "readonly database" in refusal(lambda: action(read_only))

    def test_a_name_that_is_too_long(self, tmp_path: Path, action: Callable[[str], object]) -> None:
        assert "STORAGE" in refusal(lambda: action(str(tmp_path / ("long" * 100))))


def test_a_database_that_can_only_be_read_can_still_be_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "sweep.db"
    optuna.create_study(storage=open_storage(str(file), create=True), study_name="there")
    opened = open_storage(f"sqlite:///file:{file}?mode=ro&uri=true", create=False)
    assert optuna.get_all_study_names(opened) == ["there"]


def test_checking_leaves_no_new_file_or_folder_behind(tmp_path: Path) -> None:
    check_storage(str(tmp_path / "new" / "sweep.db"))
    assert list(tmp_path.iterdir()) == []


def test_checking_an_existing_database_leaves_its_studies(tmp_path: Path) -> None:
    file = str(tmp_path / "sweep.db")
    optuna.create_study(storage=open_storage(file, create=True), study_name="there")
    check_storage(file)
    assert optuna.get_all_study_names(open_storage(file, create=False)) == ["there"]
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name LIKE '%probe%'").fetchall() == []


def test_looking_makes_no_database(tmp_path: Path) -> None:
    message = refusal(lambda: open_storage(str(tmp_path / "sweep.db"), create=False))
    assert "run a sweep first, or name another STORAGE" in message
    assert list(tmp_path.iterdir()) == []


def test_a_new_database_lies_in_folders_made_for_it(tmp_path: Path) -> None:
    open_storage(str(tmp_path / "a" / "b" / "sweep.db"), create=True).engine.dispose()
    assert (tmp_path / "a" / "b" / "sweep.db").is_file()


def test_optunas_tables_and_our_own_are_in_one_place(storage: SweepStorage) -> None:
    tables = sqlalchemy.inspect(storage.engine).get_table_names()
    assert {"studies", "trials", "trial_intermediate_values", "sweep_trials", "sweep_reports"} <= set(tables)


def test_every_connection_writes_ahead_without_waiting_for_the_disk(storage: SweepStorage) -> None:
    connections = [storage.engine.connect() for _ in range(4)]
    for connection in connections:
        assert connection.execute(sqlalchemy.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sqlalchemy.text("PRAGMA synchronous")).scalar() == 1  # NORMAL
        connection.close()


def test_running_trials_give_signs_of_life(storage: SweepStorage) -> None:
    assert (storage.get_heartbeat_interval(), storage.grace_period) == (30, 120)


def test_slots_that_ask_at_once_get_each_waiting_trial_once(storage: SweepStorage, study: optuna.Study) -> None:
    for _ in range(5 * THREADS):
        study.enqueue_trial({})
    numbers = list[int]()

    def ask(_place: int) -> None:
        own = optuna.load_study(storage=storage, study_name="demo")
        numbers.extend(own.ask().number for _ in range(5))

    at_once(ask)
    assert sorted(numbers) == list(range(5 * THREADS))


def test_a_waiting_trial_can_be_claimed_once(storage: SweepStorage, study: optuna.Study) -> None:
    study.enqueue_trial({})
    (trial,) = study.trials
    assert storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)
    assert not storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING)


def test_a_claimed_trial_knows_when_it_began_wherever_that_is(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna keeps times in UTC, and tells them in the machine's own."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        study.enqueue_trial({})
        study.ask()
        study.ask()
        claimed, new = (trial.datetime_start for trial in study.trials)
        assert claimed is not None
        assert new is not None
        assert abs(claimed - new) < timedelta(hours=1)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_parked_trial_is_handed_out_once_it_is_no_more(storage: SweepStorage, study: optuna.Study) -> None:
    study.add_trial(create_trial(state=TrialState.WAITING, user_attrs={PARKED: True}))
    study.enqueue_trial({})
    (parked, _), asked = study.trials, study.ask()
    assert asked.number == 1
    assert study.ask().number == 2
    assert not storage.set_trial_state_values(parked._trial_id, TrialState.RUNNING)
    storage.set_trial_user_attr(parked._trial_id, PARKED, False)
    assert study.ask().number == 0


def test_marks_are_of_what_may_have_changed(storage: SweepStorage, study: optuna.Study) -> None:
    optuna.create_study(storage=storage).ask()
    study.add_trials([create_trial(value=2.0, intermediate_values={1: 2.0}), create_trial(state=TrialState.FAIL)])
    study.add_trial(create_trial(state=TrialState.WAITING, intermediate_values={1: 2.5, 7: 2.4}))
    running = study.ask()
    ids = [trial._trial_id for trial in study.trials]
    ends = [(ids[0], TrialState.COMPLETE, 1), (ids[1], TrialState.FAIL, 0)]
    going = [(ids[2], TrialState.RUNNING, 2)]
    assert running._trial_id == ids[2], "what waits is handed out"
    assert storage.marks(study._study_id, -1) == [*ends, *going]
    assert storage.marks(study._study_id, ids[0]) == [*ends[1:], *going]
    assert storage.marks(study._study_id, ids[2]) == going
    running.report(2.3, 8)
    assert storage.marks(study._study_id, ids[2]) == [(ids[2], TrialState.RUNNING, 3)]


def test_threads_that_write_one_file_lose_nothing(storage: SweepStorage, study: optuna.Study) -> None:
    def search(place: int) -> None:
        own = optuna.load_study(storage=storage, study_name="demo", sampler=optuna.samplers.RandomSampler(seed=place))
        for _ in range(25):
            trial = own.ask()
            x = trial.suggest_float("x", 0, 1)
            for step in range(1, 6):
                trial.report(x + step, step)
            own.tell(trial, x)

    at_once(search)
    assert [trial.number for trial in study.trials] == list(range(25 * THREADS))
    for trial in study.trials:
        x = trial.params["x"]
        assert (trial.state, trial.value) == (TrialState.COMPLETE, x)
        assert trial.intermediate_values == {step: x + step for step in range(1, 6)}


class TestOptunasContract(StorageTestCase):
    """Optuna's own published tests of a storage."""

    @pytest.fixture
    def storage(self, tmp_path: Path) -> Iterator[SweepStorage]:
        opened = new_storage(tmp_path / "contract.db")
        yield opened
        opened.engine.dispose()


SECRET = "s3cr3tw0rd"


@pytest.mark.parametrize(
    ("storage", "words"),
    [
        (f"postgresql+psycopg:/me:{SECRET}@host/db", "nearly a database URL"),
        (f"postgres//me:{SECRET}@host/db", "nearly a database URL"),
        (f"MySQL:me:{SECRET}@host/db", "nearly a database URL"),
        (f"postgresql://me:a@{SECRET}@host/db", "more than one @"),
        (f"postgresql://:@/{SECRET}@host/db", "more than one @"),
        (f"postgresql://me:{SECRET}@host:port/db", "no database URL"),
        (f"postgresql://me:{SECRET}@host/db\n", "cannot be shown"),
        ("runs/\x1b[31m.db", "cannot be shown"),
    ],
)
def test_what_may_hold_a_password_is_refused_without_being_repeated(storage: str, words: str) -> None:
    told = refusal(lambda: shown(storage))
    assert words in told
    assert SECRET not in told
    assert told.isprintable()


def test_files_that_are_called_like_a_database_are_files() -> None:
    for storage in ("postgresql/sweep.db", "sqlite.db", "mysql", "runs/a@b@c.db", "sqlite:///a@b@c.db"):
        assert parse_url(storage).get_backend_name() == "sqlite"


def test_the_home_of_nobody_is_a_path_like_any_other() -> None:
    assert parse_url("~nobody-of-that-name/x.db").database == "~nobody-of-that-name/x.db"
