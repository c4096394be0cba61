"""Where the dashboard listens, and that it warns where others can reach it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from wsgiref.simple_server import WSGIServer

import pytest

from sweep.errors import SweepError
from sweep.serve import address, is_private, make_dashboard
from tests.sweep.fakes import new_storage


@contextmanager
def _served(folder: Path, host: str) -> Iterator[WSGIServer]:
    with make_dashboard(new_storage(folder / "sweep.db"), host, 0, folder) as server:
        yield server


HOSTS = {"127.0.0.1": True, "127.0.0.2": True, "localhost": True, "::1": True, "0.0.0.0": False, "::": False}


@pytest.mark.parametrize(("host", "private"), HOSTS.items())
def test_only_loopback_is_private(host: str, private: bool, tmp_path: Path) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    try:
        with _served(tmp_path, host) as server:
            assert is_private(server) == private
            assert address(server, host) == f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}"
            socket.create_connection((host, server.server_port), timeout=10).close()
    except SweepError as error:
        if host != "::1" or "assign requested address" not in str(error):
            raise
        pytest.skip("this machine has no IPv6 loopback")


@pytest.mark.parametrize("host", ["", "256.1.1.1", "no.such.host.invalid", "x" * 300, "a b", "[red]", "127.0.0.1:80"])
def test_no_address_is_refused_in_a_line(host: str, tmp_path: Path) -> None:
    with pytest.raises(SweepError) as refusal, _served(tmp_path, host):
        pass
    assert "\n" not in str(refusal.value)
    assert "HOST" in str(refusal.value) or "cannot listen on" in str(refusal.value)
