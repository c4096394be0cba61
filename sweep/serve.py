"""Serves optuna-dashboard on this machine, with threads, and without a line for every request."""

from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import BaseStorage
from optuna_dashboard import wsgi

from sweep.errors import SweepError
from sweep.options import DEFAULT_OUTPUT
from sweep.store import open_store

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request: a large picture does not hold up the page."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """Says nothing of requests that went well."""

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Takes no note."""


def make_dashboard(
    storage: BaseStorage, host: str, port: int, output: Path = DEFAULT_OUTPUT, artifacts: str = ""
) -> WSGIServer:
    """Returns a server that listens already.

    Args:
        storage: The studies.
        host: Address to listen on.
        port: Port to listen on; 0 for any free one.
        output: The output folder, which holds the artifacts where no other place is named.
        artifacts: ARTIFACTS, or empty.

    Raises:
        SweepError: It cannot listen there.
    """
    app = wsgi(storage, artifact_store=open_store(artifacts, output))
    try:
        return make_server(host, port, app, server_class=_Server, handler_class=_Quiet)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SweepError(
            f"cannot listen on {host} port {port}: {reason}. Another one: PORT=8081 (or --port)"
        ) from error
