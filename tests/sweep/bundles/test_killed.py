"""Packing and unpacking that are killed: nothing half is left that anybody could take for whole."""

import errno
import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import sqlalchemy
from sqlalchemy.engine import Connection

from sweep.bundles import pack as packing
from sweep.bundles import unpack as unpacking
from sweep.bundles.archive import write_archive
from sweep.bundles.unpack import unpack
from sweep.errors import SweepError
from sweep.storage import open_storage
from tests.sweep.bundles.studies import at_rest, files_below, packed, told
from tests.sweep.fakes import FakeSweep


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def after(done: Callable[..., Any]) -> Callable[..., Any]:
    """Does it, and dies."""

    def call(*given: Any, **named: Any) -> None:
        done(*given, **named)
        die()

    return call


def in_a_process_that_dies(work: Callable[[], Any]) -> None:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


# Where an unpack dies: what is replaced, and by what.
MOMENTS: dict[str, tuple[object, str, Callable[[Callable[..., Any]], Any]]] = {
    "before the rows": (unpacking, "copy_study", lambda _: die),
    "after the rows": (unpacking, "copy_study", after),
    "before the folder is there": (os, "rename", lambda _: die),
    "after the folder is there": (os, "rename", after),
    "before the commit": (Connection, "commit", lambda _: die),
    "after the commit": (Connection, "commit", after),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_an_unpack_that_is_killed_is_done_again(
    moment: str, played: FakeSweep, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, name, by = MOMENTS[moment]
    database, output = str(tmp_path / "sweep.db"), tmp_path / "runs"
    open_storage(database, create=True).engine.dispose()
    with monkeypatch.context() as patch:
        patch.setattr(place, name, by(getattr(place, name)))
        in_a_process_that_dies(lambda: unpack(bundle, database, output))
    storage = open_storage(database, create=False)
    if moment == "after the commit":
        assert told(storage) == at_rest(told(played.storage))
        with pytest.raises(SweepError, match="there is a study named 'demo' already"):
            unpack(bundle, database, output)
    else:
        assert optuna.get_all_study_names(storage) == []
        unpack(bundle, database, output)
        assert told(storage) == at_rest(told(played.storage))
    # The database is beside; the temporary folder of the dead is gone.
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()
    names = {path.relative_to(output).parts[0] for path in output.rglob("*")}
    assert names == {"demo", "artifacts"}


def test_a_pack_that_is_killed_leaves_the_bundle_before(
    played: FakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed(played, tmp_path / "demo.tar")
    before = (tmp_path / "demo.tar").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(packing, "write_archive", after(write_archive))
        in_a_process_that_dies(lambda: packed(played, tmp_path / "demo.tar"))
    assert (tmp_path / "demo.tar").read_bytes() == before
    packed(played, tmp_path / "demo.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["demo.tar"], "what the dead one left is cleared away"


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", [(os, "rename"), (os, "replace"), (unpacking, "copy_study")])
def test_a_full_disk_leaves_nothing(
    where: tuple[object, str], bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(*where, full)
        with pytest.raises(OSError, match="No space left"):
            unpack(bundle, str(tmp_path / "sweep.db"), tmp_path / "runs")
    assert optuna.get_all_study_names(open_storage(str(tmp_path / "sweep.db"), create=False)) == []
    assert files_below(tmp_path / "runs") == {}
    unpack(bundle, str(tmp_path / "sweep.db"), tmp_path / "runs")


def test_a_commit_that_fails_takes_the_files_back(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Connection) -> None:
        raise sqlalchemy.exc.OperationalError("commit", None, Exception("database or disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "commit", fails)
        with pytest.raises(sqlalchemy.exc.OperationalError):
            unpack(bundle, str(tmp_path / "sweep.db"), tmp_path / "runs")
    assert files_below(tmp_path / "runs") == {}
    unpack(bundle, str(tmp_path / "sweep.db"), tmp_path / "runs")
