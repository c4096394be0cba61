"""How a worker on another machine finds its coordinator: address and key, in a file that only its owner reads."""

import contextlib
import json
import os
import socket
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection
from pathlib import Path
from typing import Self

# A machine that is switched off says nothing; after so many seconds of silence it is asked, and so often.
IDLE_SECONDS, BETWEEN_SECONDS, QUESTIONS = 30, 10, 3


@dataclass(frozen=True)
class Line:
    """Where a coordinator listens, and the key with which both sides prove that they belong to each other.

    The key never goes over the network: each side sends a number that the other signs with it.
    """

    host: str
    port: int
    key: bytes

    def write(self, file: Path) -> None:
        """Writes the file, which must not be there, for its owner alone."""
        text = json.dumps({"host": self.host, "port": self.port, "key": self.key.hex()})
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf8") as opened:
            opened.write(text)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Reads what `write` wrote.

        Raises:
            OSError: It is not there, since its sweep has ended.
        """
        fields = json.loads(file.read_text(encoding="utf8"))
        return cls(fields["host"], fields["port"], bytes.fromhex(fields["key"]))

    def dial(self) -> Connection:
        """Connects to the coordinator.

        Raises:
            OSError: Nobody listens any more.
            multiprocessing.AuthenticationError: Whoever listens has not the key.
        """
        connection = Client((self.host, self.port), family="AF_INET", authkey=self.key)
        keep_alive(connection)
        return connection


def keep_alive(connection: Connection) -> None:
    """Has the system notice when the machine at the other end is gone without a word."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (
            ("TCP_KEEPIDLE", IDLE_SECONDS),
            ("TCP_KEEPINTVL", BETWEEN_SECONDS),
            ("TCP_KEEPCNT", QUESTIONS),
        ):
            if hasattr(socket, name):  # not on every system
                line.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
