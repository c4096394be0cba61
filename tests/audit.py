"""Looks the pinned versions up among known vulnerabilities, with pip-audit: `python -m tests.audit [--strict]`.

Part of `make lint`, which it does not fail: a vulnerability that is published today must not turn yesterday's commit
red, and without a network nothing can be asked. `make audit` fails when one is found or nothing could be asked.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

PINS = Path(__file__).parents[1] / "constraints.txt"
PATIENCE_SECONDS = 90


def ask(pins: Path, command: list[str]) -> list[dict[str, Any]] | str:
    """pip-audit's findings of every pinned version; why there are none where it could not be asked."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        options = [
            "--requirement",
            str(pins),
            "--no-deps",
            "--disable-pip",
            "--progress-spinner",
            "off",
            "--timeout",
            "10",
        ]
        try:
            done = subprocess.run(
                [*command, *options, "--format", "json", "--output", str(answer)],
                capture_output=True,
                text=True,
                timeout=PATIENCE_SECONDS,
                stdin=subprocess.DEVNULL,
            )
        except subprocess.TimeoutExpired:
            return f"no answer within {PATIENCE_SECONDS} s"
        try:
            found: list[dict[str, Any]] = json.loads(answer.read_text(encoding="utf8"))["dependencies"]
        except (OSError, ValueError, KeyError):
            words = [line for line in done.stderr.splitlines() if line.strip()]
            return words[-1].strip()[:160] if words else f"pip-audit ended with status {done.returncode}"
        if not any("version" in package for package in found):
            return "the package index that was asked knows nothing of any of them"
        return found


def lines(found: list[dict[str, Any]]) -> list[str]:
    """A line a vulnerability: the package, what is known by which name, and the version that mends it."""
    return [
        f"audit: {package['name']} {package['version']}: {vulnerability['id']}, mended in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for package in found
        for vulnerability in package.get("vulns", ())
    ]


def main(arguments: list[str], command: list[str] | None = None) -> int:
    """Asks and tells; the exit status. Another command than pip-audit may answer in its place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="exit with 1 when something is found or cannot be asked")
    strict = parser.parse_args(arguments).strict
    found = ask(PINS, command or [sys.executable, "-m", "pip_audit"])
    if isinstance(found, str):
        print(f"audit: skipped, as known vulnerabilities cannot be asked for here ({found})")
        return int(strict)
    told = lines(found)
    asked = sum("version" in package for package in found)
    unknown = f", {len(found) - asked} could not be asked for" if asked < len(found) else ""
    print("\n".join([*told, f"audit: {len(told)} known vulnerabilities in {asked} pinned versions{unknown}"]))
    return int(strict and bool(told))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
