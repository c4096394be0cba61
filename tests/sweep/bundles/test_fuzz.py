"""Bundles with anything wrong in them: refused in one line, or taken; never a traceback, nothing outside, no flood."""

import sqlite3
import tarfile
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweep.bundles.layout import DATABASE, MANIFEST
from sweep.bundles.unpack import unpack
from sweep.errors import SweepError
from tests.sweep.bundles.studies import files_below
from tests.sweep.bundles.tars import contents_of, sealed

# Far more than reading headers takes, in bytes.
MOST_MEMORY = 4 << 20
FUZZ = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)

places = st.floats(0, 1, exclude_max=True)
blocks = st.binary(min_size=1, max_size=600)
numbers = st.sampled_from([b"77777777777", b"\x80" + b"\xff" * 10, b"\xff" * 11, b"-1\0", b"00000000000"])
# What is done to the bytes of a bundle: where, how many go, and what comes instead.
changes = st.lists(st.tuples(places, st.sampled_from([0, 1, 7, 512, 5000]), blocks | numbers), min_size=1, max_size=4)
# A field of a tar's header: where it is in a block, and what comes there.
fields = st.lists(st.tuples(places, st.sampled_from([0, 100, 124, 148, 156, 157, 257, 345]), blocks), max_size=3)


def attempt(content: bytes) -> None:
    """Unpacks; sees that nothing is touched but the folder for it, and that but for a whole bundle."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bundle.tar").write_bytes(content)
        try:
            unpack(folder / "bundle.tar", str(folder / "in" / "sweep.db"), folder / "in" / "runs")
        except SweepError as error:
            told = str(error)
            assert 0 < len(told) < 600
            assert "\n" not in told
            assert set(files_below(folder)) == {"bundle.tar"}
        else:
            assert {path.split("/")[0] for path in files_below(folder)} == {"bundle.tar", "in"}


def test_a_manifest_of_a_gigabyte_is_not_read(tmp_path: Path) -> None:
    """The file has a hole as long as it says, so that only the limit keeps it out of memory."""
    info = tarfile.TarInfo(MANIFEST)
    info.size = 1 << 30
    with (tmp_path / "bomb.tar").open("wb") as file:
        file.write(info.tobuf(tarfile.GNU_FORMAT))
        file.truncate(info.size + 4096)
    for kind in (tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
        info.type = kind
        with (tmp_path / "bomb.tar").open("r+b") as file:
            file.write(info.tobuf(tarfile.GNU_FORMAT))
        tracemalloc.start()
        try:
            with pytest.raises(SweepError, match=r"is no bundle|is refused"):
                unpack(tmp_path / "bomb.tar", str(tmp_path / "sweep.db"), tmp_path / "runs")
            assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
        finally:
            tracemalloc.stop()


@settings(FUZZ, max_examples=60)
@given(changes, fields)
def test_bytes_that_are_not_as_they_were(
    bundle: Path, changed: list[tuple[float, int, bytes]], headers: list[tuple[float, int, bytes]]
) -> None:
    content = bytearray(bundle.read_bytes())
    for place, field, new in headers:
        start = int(place * len(content)) // 512 * 512 + field
        content[start : start + len(new)] = new
    for place, gone, new in changed:
        start = int(place * len(content))
        content[start : start + gone] = new
    attempt(bytes(content))


@settings(FUZZ, max_examples=30)
@given(places)
def test_cut_anywhere(bundle: Path, place: float) -> None:
    content = bundle.read_bytes()
    attempt(content[: int(place * len(content))])


@settings(FUZZ, max_examples=10)
@given(changed=st.lists(st.tuples(places, st.binary(min_size=1, max_size=40)), min_size=1, max_size=3))
def test_a_database_with_wrong_bytes_and_right_checksums(
    bundle: Path, changed: list[tuple[float, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    parts = contents_of(bundle)
    database = bytearray(parts[DATABASE])
    for place, new in changed:
        start = int(place * len(database))
        database[start : start + len(new)] = new
    attempt(sealed(parts | {DATABASE: bytes(database)}, tmp_path_factory.mktemp("fuzz") / "x.tar").read_bytes())


values = st.sampled_from(
    ["", "null", "{", "[" * 5000, '"x"', "-1", "1e999", "NaN", "[1,2", '{"a":', "'; DROP TABLE studies; --", "\0", None]
)
columns = [
    *(("study_user_attributes", "value_json"), ("study_system_attributes", "value_json"), ("trials", "number")),
    *(("trial_user_attributes", "value_json"), ("trial_system_attributes", "value_json"), ("trials", "state")),
    *(("trials", "datetime_start"), ("trial_params", "distribution_json"), ("trial_params", "param_value")),
    *(("trial_values", "value"), ("trial_values", "value_type"), ("trial_intermediate_values", "step")),
    *(("sweep_trials", "config"), ("sweep_trials", "folder"), ("sweep_trials", "started"), ("sweep_trials", "state")),
    *(("sweep_reports", "eval_loss"), ("sweep_reports", "evaluation"), ("sweep_diagnoses", "diagnosis")),
    *(("studies", "study_name"), ("study_directions", "direction"), ("alembic_version", "version_num")),
    *(("sweep_trials", "trial_number"), ("sweep_machines", "trial_number"), ("trial_user_attributes", "key")),
]


@settings(FUZZ, max_examples=20)
@given(column=st.sampled_from(columns), value=values, row=st.integers(0, 5))
def test_rows_with_wrong_values_and_right_checksums(
    bundle: Path, column: tuple[str, str], value: str | None, row: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, parts = tmp_path_factory.mktemp("fuzz"), contents_of(bundle)
    (folder / "study.db").write_bytes(parts[DATABASE])
    connection = sqlite3.connect(folder / "study.db")
    table, name = column
    try:
        connection.execute("PRAGMA ignore_check_constraints=1")
        query = f"update {table} set {name} = ? where rowid in (select rowid from {table} limit 1 offset ?)"
        connection.execute(query, (value, row))
        connection.commit()
    except sqlite3.Error:
        return
    finally:
        connection.close()
    attempt(sealed(parts | {DATABASE: (folder / "study.db").read_bytes()}, folder / "x.tar").read_bytes())


@pytest.mark.parametrize(
    "statement",
    [
        "create trigger t after insert on trials begin delete from trials; end",
        "create view v as select * from trials",
        "delete from trials where number = 2",
        "drop table trial_params",
        "update trials set number = 7 where number = 2",
        "update study_user_attributes set value_json = '3' where key = 'sweep'",
        "delete from study_user_attributes where key = 'sweep'",
    ],
)
def test_a_database_of_another_shape(bundle: Path, tmp_path: Path, statement: str) -> None:
    parts = contents_of(bundle)
    (tmp_path / "study.db").write_bytes(parts[DATABASE])
    connection = sqlite3.connect(tmp_path / "study.db")
    connection.execute(statement)
    connection.commit()
    connection.close()
    evil = sealed(parts | {DATABASE: (tmp_path / "study.db").read_bytes()}, tmp_path / "evil.tar")
    with pytest.raises(SweepError, match="is damaged: its database cannot be read"):
        unpack(evil, str(tmp_path / "in" / "sweep.db"), tmp_path / "in" / "runs")
    assert not (tmp_path / "in").exists()
    assert MANIFEST in parts
