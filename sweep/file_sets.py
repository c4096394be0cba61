"""Sets of files in a store: whole or not there, whatever is cut off in between.

A set is a folder of the store. Each of its files is named by its checksum, and `manifest.json`, which is written last,
says which files there are by which name. Files that another writer or a broken off one left are no part of it.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweep.store import Store
from trials.checkpoint_files import sha256

MANIFEST = "manifest.json"
LARGEST_MANIFEST = 2**20  # bytes; one has some hundred
# Names that a set may give its files: no way out of the folder that it is fetched to.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*){0,3}")
_CHECKSUM = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileSet:
    """What a manifest says.

    Attributes:
        files: Checksums by name.
        step: How far what is in it has come; the higher, the newer.
    """

    files: Mapping[str, str]
    step: int


def put_set(store: Store, place: str, files: Mapping[str, Path], step: int) -> None:
    """Writes a set in place of the one that is there; files that are there already are not sent again.

    Args:
        store: Where to.
        place: The set's name.
        files: The files by name. They must not change meanwhile.
        step: How far what is in it has come.

    Raises:
        StoreFault: The store failed; the set that was there may still be.
        OSError: A file cannot be read.
    """
    there = store.sizes(place)
    sums = {name: sha256(path) for name, path in files.items()}
    for name, path in files.items():
        key = f"{place}/{sums[name]}"
        # A file that was cut off has another size.
        if there.get(key) != path.stat().st_size:
            store.put(key, path)
    store.put(f"{place}/{MANIFEST}", json.dumps({"step": step, "files": sums}).encode())
    kept = {f"{place}/{name}" for name in (MANIFEST, *sums.values())}
    store.delete(key for key in there if key not in kept)


def read_set(store: Store, place: str) -> FileSet | None:
    """What set there is; None where there is none, or what is there is no manifest.

    Raises:
        StoreFault: The store failed.
    """
    pieces = store.read(f"{place}/{MANIFEST}")
    if pieces is None:
        return None
    text = next(pieces, b"")[:LARGEST_MANIFEST]  # a longer one is then no JSON
    try:
        read = json.loads(text)
        files, step = dict(read["files"]), int(read["step"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    good = all(_NAME.fullmatch(name) and _CHECKSUM.fullmatch(str(digest)) for name, digest in files.items())
    return FileSet(files, step) if good else None


def fetch_set(store: Store, place: str, found: FileSet, folder: Path) -> bool:
    """Writes a set's files into a folder; whether all came whole. If not, the folder holds nothing of use.

    Args:
        store: Where from.
        place: The set's name.
        found: What is in it.
        folder: Where to; made, and emptied when it is there.

    Raises:
        StoreFault: The store failed.
        OSError: The folder cannot be written.
    """
    shutil.rmtree(folder, ignore_errors=True)
    for name, expected in found.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        pieces = store.read(f"{place}/{expected}")
        if pieces is None:  # a newer set took its place
            return False
        with path.open("wb") as file:
            for piece in pieces:
                digest.update(piece)
                file.write(piece)
        if digest.hexdigest() != expected:
            return False
    return True


def places(store: Store, kind: str) -> set[str]:
    """The names of the sets below a folder of the store.

    Raises:
        StoreFault: The store failed.
    """
    return {key.rsplit("/", 1)[0] for key in store.sizes(kind)}


def delete_set(store: Store, place: str) -> None:
    """Deletes a set, its manifest first.

    Raises:
        StoreFault: The store failed.
    """
    store.delete([f"{place}/{MANIFEST}"])
    store.delete(store.sizes(place))
