"""A real PostgreSQL of one's own: made in a folder, on loopback, stopped and started again at will."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import psutil

PATIENCE_SECONDS = 60
USER = "postgres"
PASSWORD = "s3cret-of-the-test"


def bin_folder() -> Path | None:
    """Where `initdb` and `postgres` are; None where PostgreSQL is not installed."""
    there = shutil.which("initdb")
    found = [Path(there).resolve().parent] if there else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in found if (folder / "initdb").exists() and (folder / "postgres").exists()), None)


class Postgres:
    """A cluster in a folder of its own. PostgreSQL refuses to be root's: then it is the user postgres's, or nobody's.

    The folder is none of pytest's: those are closed to other users, again with every run of pytest.
    """

    def __init__(self) -> None:
        folder = self._folder = Path(tempfile.mkdtemp(prefix="lora-sweep-postgres-"))
        bins = bin_folder()
        assert bins is not None
        self._bin, self._data, self._log = bins, folder / "data", folder / "log"
        self._server: subprocess.Popen[bytes] | None = None
        secret = folder / "password"
        secret.write_text(PASSWORD, encoding="ascii")
        if self._user is not None:
            shutil.chown(folder, self._user)
            shutil.chown(secret, self._user)
        self._run(
            "initdb", "-D", str(self._data), "-U", USER, "--auth=scram-sha-256", f"--pwfile={secret}", "--no-sync"
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    @property
    def url(self) -> str:
        """The address, with its password."""
        return f"postgresql+psycopg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{USER}"

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 200,
            # Another time zone than a client's would be, and one with summer time.
            "timezone": "Asia/Kolkata",
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._server = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self._data), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self._user,
                cwd="/",
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while subprocess.run([self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode:
            assert time.monotonic() < deadline, self._log.read_text(encoding="utf8")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stops the server as a restart does: every connection is cut."""
        if self._server is not None and self._server.poll() is None:
            self._server.send_signal(signal.SIGINT)
            try:
                self._server.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                for child in psutil.Process(self._server.pid).children(recursive=True):
                    child.kill()
                self._server.kill()
                self._server.wait()
        self._server = None

    def close(self) -> None:
        """Stops the server and deletes all that it had."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        """What a statement gives, by a connection of its own."""
        import psycopg

        plain = self.url.replace("+psycopg", "")
        with psycopg.connect(plain, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def new_database(self, name: str) -> str:
        """Makes a database; its address."""
        self.sql(f'CREATE DATABASE "{name}"')
        return f"{self.url.rpartition('/')[0]}/{name}"

    @property
    def _user(self) -> str | None:
        if os.getuid() != 0:
            return None
        import pwd

        return "postgres" if "postgres" in {entry.pw_name for entry in pwd.getpwall()} else "nobody"

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *words], user=self._user, cwd="/", capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
