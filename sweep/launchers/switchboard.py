"""Where workers on other machines call their coordinator: one listening socket, and a key that a caller must have."""

import contextlib
import os
import secrets
import socket
import struct
import threading
from collections.abc import Callable
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path

from sweep.errors import SweepError
from trials.line import Line, keep_alive
from trials.protocol import Arrived

KEY_BYTES = 32
# Seconds of silence after which a caller that has not shown the key and said who it is, is hung up on.
GREETING_SECONDS = 30

# Takes the connection of a worker that has called; False when it is not waited for.
Answered = Callable[[Arrived, Connection], bool]


class Switchboard:
    """Takes the calls of workers; each caller is heard in a thread of its own, so that a silent one holds up nobody."""

    def __init__(self, host: str, file: Path, answered: Answered) -> None:
        """Listens, and writes where and with which key to `file`.

        Raises:
            SweepError: `host` is no address of this machine.
        """
        self._answered, self._key = answered, secrets.token_bytes(KEY_BYTES)
        try:
            self._socket = socket.create_server((host, 0), backlog=64)
        except OSError as error:
            raise SweepError(
                f"LAUNCHER_OPTIONS has host={host}, where nothing can listen ({error.strerror}); allowed: an address "
                "of this machine that the workers' machines reach"
            ) from error
        Line(host, self._socket.getsockname()[1], self._key).write(file)
        threading.Thread(target=self._listen, name="switchboard", daemon=True).start()

    def close(self) -> None:
        """Takes no more calls."""
        with contextlib.suppress(OSError):  # some systems say that nobody is connected
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                caller, _ = self._socket.accept()
                threading.Thread(target=self._hear, args=(caller,), name="caller", daemon=True).start()

    def _hear(self, caller: socket.socket) -> None:
        """Has a caller prove itself before anything that it sends is unpickled."""
        with caller:
            connection = Connection(os.dup(caller.fileno()))
            try:
                _limit(caller, GREETING_SECONDS)
                deliver_challenge(connection, self._key)
                answer_challenge(connection, self._key)
                arrived = connection.recv()
                _limit(caller, 0)
            except (OSError, EOFError, AuthenticationError):
                connection.close()
                return
        keep_alive(connection)
        if not isinstance(arrived, Arrived) or not self._answered(arrived, connection):
            connection.close()


def _limit(caller: socket.socket, seconds: int) -> None:
    """Has reading fail after so many seconds; 0 for never. Not `settimeout`, which a `Connection` does not know."""
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", seconds, 0))
