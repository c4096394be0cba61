"""The first file of a bundle: what study it is, from which machine, and each file's size and checksum."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.bundles.layout import DATABASE, FORMAT, is_allowed, why_not
from sweep.errors import SweepError
from sweep.machine import Machine
from sweep.version import __version__

# How a bundle is told from another program's tar.
PROGRAM = "lora-sweep bundle"


@dataclass(frozen=True)
class File:
    """What a file must be: its size, and its SHA-256 in hex."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds.

    Attributes:
        study: The study's name where it was packed.
        packed: When, ISO 8601 in UTC.
        identity: What the study is of (`sweep.study.Identity`), for people and other programs.
        trials: How many there are in each state.
        machine: Where its newest session ran.
        files: All but the manifest itself, by name.
    """

    study: str
    packed: str
    identity: Mapping[str, Any]
    trials: Mapping[str, int]
    machine: Machine
    files: Mapping[str, File]

    def to_json(self) -> bytes:
        """As it stands in the bundle."""
        plain = {
            "program": PROGRAM,
            "format": FORMAT,
            "version": __version__,
            "study": self.study,
            "packed": self.packed,
            "trials": dict(self.trials),
            "identity": dict(self.identity),
            "machine": self.machine.to_dict(),
            "files": {name: {"size": file.size, "sha256": file.sha256} for name, file in self.files.items()},
        }
        return json.dumps(plain, indent=1).encode()


def read_manifest(content: bytes, bundle: Path) -> Manifest:
    """Reads a manifest, which may come from anywhere.

    Raises:
        SweepError: It is none, of a later format, or names a file that no bundle has.
    """
    try:
        plain = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SweepError(f"{bundle} is damaged: its manifest is no JSON") from error
    if not isinstance(plain, dict) or plain.get("program") != PROGRAM:
        raise SweepError(f"{bundle} is no bundle of this program; allowed: what `sweep pack` wrote")
    if plain.get("format") != FORMAT:
        raise SweepError(
            f"{bundle} has format {str(plain.get('format'))[:20]!r}, written by version "
            f"{str(plain.get('version'))[:20]!r} of this program; this one, {__version__}, reads format {FORMAT}. "
            "Use that version here, or pack with this one"
        )
    try:
        return _manifest(plain, bundle)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise SweepError(f"{bundle} is damaged: its manifest is incomplete or malformed") from error


def _manifest(plain: Mapping[str, Any], bundle: Path) -> Manifest:
    study, files = plain["study"], {}
    if not isinstance(study, str) or not study or len(study) > 512 or not study.isprintable():
        raise ValueError("the study's name")
    for name, told in plain["files"].items():
        if not is_allowed(name):
            raise SweepError(f"{bundle} is refused: it has {name[:100]!r}, {why_not(name)}")
        size, sha256 = told["size"], told["sha256"]
        if type(size) is not int or size < 0 or not isinstance(sha256, str):
            raise ValueError(name)
        files[name] = File(size, sha256)
    if DATABASE not in files:
        raise ValueError("no database")
    trials = {str(state): int(count) for state, count in plain["trials"].items()}
    return Manifest(
        study=study,
        packed=str(plain["packed"])[:40],
        identity=dict(plain["identity"]),
        trials=trials,
        machine=Machine.from_dict(plain["machine"]),
        files=files,
    )


def file_facts(path: Path) -> File:
    """A file's size and checksum."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return File(file.tell(), digest)
