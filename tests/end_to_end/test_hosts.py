"""The dashboard's command: on loopback alone unless HOST says otherwise, and then with a warning."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest

from tests.end_to_end.driver import Driver
from tests.sweep.fakes import new_storage

pytestmark = pytest.mark.slow
MAKEFILE = Path(__file__).parents[2] / "Makefile"


@pytest.mark.parametrize(
    ("more", "bound", "warned"),
    [
        ((), "127.0.0.1", False),
        (("--host", "localhost"), "127.0.0.1", False),
        (("--host", "0.0.0.0"), "0.0.0.0", True),
        (("--host", "::"), "::", True),
    ],
)
def test_where_it_listens_and_what_it_says(driver: Driver, more: tuple[str, ...], bound: str, warned: bool) -> None:
    if bound == "::" and not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    (driver.folder / "runs").mkdir()
    new_storage(driver.folder / "runs" / "sweep.db")
    process = driver.start("dashboard", "--port", "0", *more)
    output = driver.wait_for_line(process, "dashboard of runs/sweep.db on http://")
    listening = [one.laddr for one in psutil.Process(process.pid).net_connections() if one.status == psutil.CONN_LISTEN]
    assert [place.ip for place in listening] == [bound]
    assert ("warning: " in output and "has no login" in output) == warned


def _make(tmp_path: Path, *words: str, **environment: str) -> list[str]:
    """What `make WORDS` calls `sweep` with: one that prints its arguments stands in its place."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "sweep"
    program.write_text("#!/usr/bin/env python3\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n", encoding="utf8")
    program.chmod(0o755)
    (tmp_path / ".ready").touch()
    done = subprocess.run(
        ["make", "-s", "-f", str(MAKEFILE), f"VENV={tmp_path}", *words],
        cwd=MAKEFILE.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    told: list[str] = json.loads(done.stdout)
    return told


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_runs_nothing_that_a_name_holds(tmp_path: Path) -> None:
    pwned = tmp_path / "pwned"
    name = f"a b$(shell touch {pwned})$HOME$$x`touch {pwned}`; touch {pwned} #'\"\\"
    words = [f"{variable}={name}" for variable in ("SPACE", "MODEL", "DATASET", "STUDY", "STORAGE", "FROM_STUDY")]
    told = _make(tmp_path, "sweep", *words, "SET=a=$(x) b=2")
    assert told.count(name) == len(words) - 1  # STORAGE goes by the environment
    assert told[-4:] == ["--set", "a=$(x)", "--set", "b=2"]
    assert not pwned.exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_host_that_the_environment_happens_to_have_is_not_asked_for(tmp_path: Path) -> None:
    """Some shells and compilers set HOST to the machine's name, where others would reach the dashboard."""
    assert _make(tmp_path, "dashboard", HOST="0.0.0.0") == ["dashboard"]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_a_host_that_is_asked_for_is_taken(tmp_path: Path) -> None:
    assert _make(tmp_path, "dashboard", "HOST=::") == ["dashboard", "--host", "::"]
