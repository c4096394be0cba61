"""Serves optuna-dashboard on this machine, with threads, and without a line for every request."""

import socket
from ipaddress import ip_address
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import BaseStorage
from optuna_dashboard import wsgi

from sweep.errors import SweepError
from sweep.options import DEFAULT_OUTPUT
from sweep.store import open_store


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request: a large picture does not hold up the page."""

    daemon_threads = True


class _ServerOf6(_Server):
    """The same on an IPv6 address."""

    address_family = socket.AF_INET6


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
    if not host:
        raise SweepError("HOST is empty, which would be every address of this machine; allowed: 127.0.0.1, or another")
    app = wsgi(storage, artifact_store=open_store(artifacts, output))
    try:
        families = {found[0] for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        kind = _Server if socket.AF_INET in families else _ServerOf6
        return make_server(host, port, app, server_class=kind, handler_class=_Quiet)
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SweepError(
            f"cannot listen on {host} port {port}: {reason}. Another one: PORT=8081 (or --port)"
        ) from error


def is_private(server: WSGIServer) -> bool:
    """Whether a server can be reached from its own machine only, by the address that it was bound to."""
    return ip_address(str(server.server_address[0]).split("%")[0]).is_loopback


def address(server: WSGIServer, host: str) -> str:
    """What to type into a browser."""
    return f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}"
