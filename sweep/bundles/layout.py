"""What lies where in a bundle. A list of what is allowed leaves no room for a path that climbs."""

import re
from pathlib import PurePosixPath

from sweep.store import FOLDER as ARTIFACTS
from sweep.trial_files import CONFIG, CURVE, LOG
from trials.folders import ADAPTER, CHECKPOINT, CHECKPOINT_BEFORE

# Of what this version writes, and the latest that it reads.
FORMAT = 1
MANIFEST, DATABASE, TRIALS = "manifest.json", "study.db", "trials"
# More than a study of 10,000 trials has. A member costs memory before its content is looked at.
MOST_MEMBERS = 200_000
LARGEST_MANIFEST = 32 << 20

_PLAIN = r"[A-Za-z0-9][A-Za-z0-9_-]{0,50}"
_FILES = "|".join(re.escape(name) for name in (LOG, CONFIG, CURVE))
_FOLDERS = "|".join(re.escape(name) for name in (ADAPTER, CHECKPOINT, CHECKPOINT_BEFORE))
# Weights are safetensors; PEFT lays a README.md beside its own.
_ALLOWED = re.compile(
    rf"{re.escape(DATABASE)}|{ARTIFACTS}/[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}"
    rf"|{TRIALS}/\d{{5,9}}/({_FILES}|({_FOLDERS})/{_PLAIN}\.(safetensors|json|md))",
    re.ASCII,
)


def is_allowed(name: str) -> bool:
    """Whether a bundle may have a file of that name."""
    return _ALLOWED.fullmatch(name) is not None


def why_not(name: str) -> str:
    """What is wrong with a name that is not allowed, in words."""
    path = PurePosixPath(name)
    if path.is_absolute():
        return "an absolute path"
    if ".." in path.parts:
        return "a path that climbs out of its folder"
    if path.suffix in (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"):
        return "a pickle, which may run code; weights are safetensors"
    return "nothing that a bundle has"


def trial_files(number: int) -> str:
    """Where a trial's files are."""
    return f"{TRIALS}/{number:05d}"
