"""Sweeps of a tiny model by the real command line and real processes, each test in a folder of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.driver import Driver
from tests.tiny import make_tiny_chats, make_tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model/` and `chats.jsonl`."""
    folder = tmp_path_factory.mktemp("tiny")
    make_tiny_model(folder / "model")
    make_tiny_chats(folder / "chats.jsonl")
    return folder


@pytest.fixture
def driver(tiny: Path, tmp_path: Path) -> Iterator[Driver]:
    """Runs sweeps in `tmp_path`; what still runs at the end is killed."""
    environment = {
        **os.environ,
        "LORA_SWEEP_CACHE": str(tiny / "cache"),
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "120",
        "PYTHONUNBUFFERED": "1",
        # Several sweeps at once share the cores: threads that spin while they wait would take them from each other.
        "OMP_WAIT_POLICY": "PASSIVE",
        # What a user may have set for all commands.
        "STORAGE": "",
    }
    driver = Driver(tiny, tmp_path, environment)
    yield driver
    driver.kill_all()


@pytest.fixture(scope="session")
def help_text() -> str:
    """What `sweep --help` prints."""
    done = subprocess.run([sys.executable, "-m", "sweep", "--help"], capture_output=True, text=True, check=True)
    return done.stdout
