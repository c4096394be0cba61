"""A worker's pipe that goes away, in whatever way, is told as the worker's death."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from sweep.devices import Slot
from sweep.errors import WorkerDied
from sweep.launchers import local
from sweep.launchers.local import LocalLauncher, WorkerProcess
from trials.protocol import WorkerSetup


class _Pipe:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def recv(self) -> Any:
        raise self._error

    def send(self, command: Any) -> None:
        raise OSError("handle is closed")

    def close(self) -> None:
        pass


class _Process:
    pid, returncode = 7, -9

    def wait(self, timeout: float | None = None) -> int:
        return -9

    def poll(self) -> int:
        return -9


@pytest.mark.parametrize("error", [EOFError(), OSError("handle is closed"), TypeError("'NoneType' object …")])
def test_a_pipe_that_is_gone_is_a_dead_worker(error: Exception, tmp_path: Path) -> None:
    worker = WorkerProcess.__new__(WorkerProcess)
    log = tmp_path / "worker.log"
    log.write_text("its last words\n")
    vars(worker).update(_pipe=_Pipe(error), _process=_Process(), _log=log)
    with pytest.raises(WorkerDied, match="signal 9") as death:
        worker.receive()
    assert death.value.detail == "its last words"


@pytest.mark.parametrize("asked", [True, False])
def test_one_worker_measures_the_loss_before_training_if_it_is_asked_for(
    asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    setups = list[WorkerSetup]()

    class Worker:
        def __init__(self, slot: Slot, setup: WorkerSetup, log: Path) -> None:
            setups.append(setup)

        def close(self) -> None:
            pass

    monkeypatch.setattr(local, "WorkerProcess", Worker)
    setup = WorkerSetup("", "", "sft", 64, None, 16, 0, "auto", None, 0, False, Path(), start_loss=asked)
    LocalLauncher(setup, [Slot((), 1), Slot((), 1), Slot((), 1)]).close()
    assert [setup.start_loss for setup in setups] == [asked, False, False]
    assert {dataclasses.replace(each, threads=0, start_loss=False) for each in setups} == {
        dataclasses.replace(setup, start_loss=False)
    }


def test_a_slot_is_told_by_its_devices() -> None:
    assert [Slot((), 1).label, Slot((0,), 0).label, Slot((0, 1), 0).label] == ["cpu", "gpu 0", "gpus 0,1"]
