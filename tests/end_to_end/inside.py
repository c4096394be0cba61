"""Commands as a user types them, run within the test's own process: for those that load no model and start none."""

from pathlib import Path

import pytest

from sweep.cli import main


def call(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str]:
    """Runs `sweep ARGUMENTS` in a folder; exit status and all that it printed."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.argv", ["sweep", *arguments])
    monkeypatch.setenv("COLUMNS", "120")
    capfd.readouterr()
    try:
        main()
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    told = capfd.readouterr()
    return status, told.out + told.err
