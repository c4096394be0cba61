"""What `make lint` says of known vulnerabilities, with another program in pip-audit's place."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.audit import main

SOUND = {"name": "rich", "version": "15.0.0", "vulns": []}
WEAK = {"name": "torch", "version": "2.13.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.14.0"]}]}
UNKNOWN = {"name": "numpy", "skip_reason": "Dependency not found on PyPI and could not be audited: numpy (2.4.6)"}


def _answers(tmp_path: Path, dependencies: list[dict[str, Any]] | None) -> list[str]:
    """A command that answers as pip-audit does; without dependencies, as it does when it cannot ask."""
    program = tmp_path / "audit.py"
    answer = json.dumps({"dependencies": dependencies, "fixes": []})
    write = f"open(sys.argv[sys.argv.index('--output') + 1], 'w').write({answer!r})"
    fail = "print('ERROR:pip_audit._cli:Could not connect to the index', file=sys.stderr); sys.exit(1)"
    program.write_text(f"import sys\n{fail if dependencies is None else write}\n", encoding="utf8")
    return [sys.executable, str(program)]


@pytest.mark.parametrize(
    ("dependencies", "words", "strict"),
    [
        ([SOUND], "audit: 0 known vulnerabilities in 1 pinned versions\n", 0),
        ([SOUND, WEAK], "audit: torch 2.13.0: PYSEC-1, mended in 2.14.0\naudit: 1 known", 1),
        ([SOUND, UNKNOWN], "in 1 pinned versions, 1 could not be asked for\n", 0),
        ([UNKNOWN], "audit: skipped, as", 1),
        (None, "(ERROR:pip_audit._cli:Could not connect to the index)\n", 1),
    ],
    ids=["sound", "weak", "partly unknown", "unknown", "no network"],
)
def test_lint_says_what_is_known_and_only_the_audit_fails(
    dependencies: list[dict[str, Any]] | None,
    words: str,
    strict: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = _answers(tmp_path, dependencies)
    assert main([], command) == 0
    assert words in capsys.readouterr().out
    assert main(["--strict"], command) == strict
