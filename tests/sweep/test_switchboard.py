"""Who is heard where workers call, and who is not."""

import os
import pickle
import socket
import stat
import threading
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge
from pathlib import Path
from queue import SimpleQueue

import psutil
import pytest

from sweep.errors import SweepError
from sweep.launchers import switchboard
from sweep.launchers.switchboard import Switchboard
from trials.line import Line
from trials.protocol import Arrived

PATIENCE = 30


class Hall:
    """A switchboard that waits for worker 1 alone."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "line.json"
        self.calls: SimpleQueue[tuple[Arrived, Connection]] = SimpleQueue()
        self.board = Switchboard("127.0.0.1", self.file, self._answered)
        self.line = Line.read(self.file)

    def _answered(self, arrived: Arrived, connection: Connection) -> bool:
        if arrived.number == 1:
            self.calls.put((arrived, connection))
        return arrived.number == 1

    def knock(self) -> socket.socket:
        """A caller without the key."""
        return socket.create_connection((self.line.host, self.line.port))


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    hall = Hall(tmp_path)
    yield hall
    hall.board.close()


def hung_up(caller: Connection) -> bool:
    try:
        while caller.poll(PATIENCE):
            caller.recv_bytes()
    except (EOFError, OSError):
        return True
    return False


def test_both_sides_talk_once_the_worker_has_said_who_it_is(hall: Hall) -> None:
    worker = hall.line.dial()
    worker.send(Arrived(1, "node", shares=True))
    arrived, connection = hall.calls.get(timeout=PATIENCE)
    assert arrived == Arrived(1, "node", shares=True)
    connection.send("a command")
    worker.send("an answer")
    assert (worker.recv(), connection.recv()) == ("a command", "an answer")


def test_the_key_is_its_owners_alone_and_never_the_same(hall: Hall, tmp_path: Path) -> None:
    assert stat.S_IMODE(hall.file.stat().st_mode) == 0o600
    (tmp_path / "other").mkdir()
    other = Hall(tmp_path / "other")
    other.board.close()
    assert hall.line.key != other.line.key
    assert len(hall.line.key) == switchboard.KEY_BYTES


def test_a_file_that_is_there_is_not_written_over(hall: Hall) -> None:
    with pytest.raises(FileExistsError):
        hall.line.write(hall.file)


def test_it_listens_on_the_address_that_it_is_given_and_no_other(hall: Hall) -> None:
    mine = [each for each in psutil.Process().net_connections("tcp") if each.status == psutil.CONN_LISTEN]
    assert [each.laddr.ip for each in mine if each.laddr.port == hall.line.port] == ["127.0.0.1"]


def test_nothing_of_a_caller_without_the_key_is_unpickled(hall: Hall, tmp_path: Path) -> None:
    trace = tmp_path / "unpickled"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(trace),)

    with hall.knock() as knocking:
        caller = Connection(os.dup(knocking.fileno()))
        caller.send_bytes(pickle.dumps(Trap()))
        assert hung_up(caller)
        caller.close()
    with pytest.raises((AuthenticationError, EOFError, OSError)):
        Line(hall.line.host, hall.line.port, b"another key").dial()
    assert not trace.exists()
    assert hall.calls.empty()


def test_a_silent_caller_holds_up_nobody_and_is_hung_up_on(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switchboard, "GREETING_SECONDS", 1)
    with hall.knock() as knocking:
        worker = hall.line.dial()
        worker.send(Arrived(1, "node", shares=True))
        hall.calls.get(timeout=PATIENCE)
        silent = Connection(os.dup(knocking.fileno()))
        assert hung_up(silent)
        silent.close()
    half = Connection(os.dup(hall.knock().detach()))
    answer_challenge(half, hall.line.key)
    assert hung_up(half), "one that has the key and says nothing more"


def test_a_worker_that_is_silent_later_is_not_hung_up_on(hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switchboard, "GREETING_SECONDS", 1)
    worker = hall.line.dial()
    worker.send(Arrived(1, "node", shares=True))
    _, connection = hall.calls.get(timeout=PATIENCE)
    heard = list[object]()
    reader = threading.Thread(target=lambda: heard.append(connection.recv()), daemon=True)
    reader.start()
    reader.join(2)
    worker.send("late")
    reader.join(PATIENCE)
    assert heard == ["late"]


def test_a_worker_that_nobody_waits_for_is_hung_up_on(hall: Hall) -> None:
    worker = hall.line.dial()
    worker.send(Arrived(2, "node", shares=True))
    assert hung_up(worker)


def test_a_closed_one_takes_no_call(hall: Hall) -> None:
    hall.board.close()
    with pytest.raises(OSError, match=r"refused|reset"):
        hall.line.dial()


def test_an_address_of_another_machine_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"host=192\.0\.2\.77, where nothing can listen"):
        Switchboard("192.0.2.77", tmp_path / "line.json", lambda arrived, connection: True)
