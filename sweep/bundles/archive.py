"""A bundle's tar: written under a temporary name, and read as if it came from an enemy.

A bundle is a plain tar of regular files with short names. Every header is looked at before anything of the tar is
used: extended headers, which `tarfile` would read into memory whatever their size, are refused with links and devices.
What is unpacked can be no larger than the bundle itself, as nothing in it is compressed.
"""

import os
import shutil
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from sweep.bundles.layout import LARGEST_MANIFEST, MANIFEST, MOST_MEMBERS, is_allowed, why_not
from sweep.bundles.manifest import Manifest, file_facts, read_manifest
from sweep.errors import SweepError

_KINDS = {
    tarfile.SYMTYPE: "a link",
    tarfile.LNKTYPE: "a link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.DIRTYPE: "a folder by itself",
}


@dataclass(frozen=True)
class Member:
    """A file in a tar: its name, and where its content begins and how long it is, in bytes."""

    name: str
    start: int
    size: int


def write_archive(manifest: Manifest, folder: Path, writing: Path) -> None:
    """Writes a bundle of the files that lie in `folder`, the manifest first, and has it on disk.

    Args:
        manifest: Names them.
        folder: Where they are.
        writing: The new file.
    """
    with writing.open("xb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
            content = manifest.to_json()
            tar.addfile(_header(MANIFEST, len(content)), BytesIO(content))
            for name, facts in manifest.files.items():
                with (folder / name).open("rb") as part:
                    tar.addfile(_header(name, facts.size), part)
        file.flush()
        os.fsync(file.fileno())


def _header(name: str, size: int) -> tarfile.TarInfo:
    """Says nothing of the file's owner."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info


def manifest_of(bundle: Path) -> Manifest:
    """A bundle's manifest; its other files are not looked at.

    Raises:
        SweepError: It is no bundle.
    """
    with _opened(bundle) as file:
        return _manifest(file, bundle, _walk(file, bundle, most=1))


def extract(bundle: Path, folder: Path) -> Manifest:
    """Unpacks a bundle into an empty folder, and sees that every file is what the manifest says.

    Raises:
        SweepError: It is no bundle, damaged, cut off, or has something that no bundle has; or the disk is too small.
    """
    with _opened(bundle) as file:
        members = _walk(file, bundle, most=MOST_MEMBERS)
        manifest = _manifest(file, bundle, members)
        _check_names(bundle, manifest, members[1:])
        total = sum(facts.size for facts in manifest.files.values())
        free = shutil.disk_usage(folder).free
        if total > free:
            raise SweepError(f"{bundle} needs {_megabytes(total)} of disk, and {_megabytes(free)} are free")
        file.seek(0)
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                tar.extractall(folder, members=[info for info in tar if info.name != MANIFEST], filter="data")
        except tarfile.TarError as error:
            raise SweepError(f"{bundle} is damaged: {error}") from error
    for name, facts in manifest.files.items():
        if file_facts(folder / name) != facts:
            raise SweepError(f"{bundle} is damaged: {name} is not what was packed (its checksum differs)")
    return manifest


def _opened(bundle: Path) -> BinaryIO:
    if not bundle.is_file():
        raise SweepError(f"no bundle at {bundle}" + (": that is a folder" if bundle.is_dir() else ""))
    try:
        return bundle.open("rb")
    except OSError as error:
        raise SweepError(f"{bundle} cannot be read: {error.strerror}") from error


def _walk(file: BinaryIO, bundle: Path, most: int) -> list[Member]:
    """Reads headers alone: all, or the first when no more than one is wanted.

    Raises:
        SweepError: The file is no tar, is cut off, or has more in it than regular files.
    """
    end = file.seek(0, os.SEEK_END)
    members: list[Member] = []
    names: set[str] = set()
    position = 0
    while True:
        file.seek(position)
        block = file.read(tarfile.BLOCKSIZE)
        if members and block == bytes(tarfile.BLOCKSIZE):
            return members
        info = _info(block, bundle, first=not members, start=position)
        start = position + tarfile.BLOCKSIZE
        if info.type != tarfile.REGTYPE:
            kind = _KINDS.get(info.type, "an extended header")
            raise SweepError(f"{bundle} is refused: {info.name[:100]!r} is {kind}; allowed: regular files")
        if info.name in names:
            raise SweepError(f"{bundle} is refused: it has {info.name[:100]!r} twice")
        if info.size < 0 or start + info.size > end:
            raise SweepError(f"{bundle} is cut off, or damaged: {info.name[:100]!r} goes beyond the file's end")
        if len(members) == MOST_MEMBERS:
            raise SweepError(f"{bundle} is refused: it has more than {MOST_MEMBERS:,} files")
        members.append(Member(info.name, start, info.size))
        names.add(info.name)
        if len(members) == most == 1:
            return members
        position = start + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _info(block: bytes, bundle: Path, *, first: bool, start: int) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        if first:
            raise SweepError(f"{bundle} is no bundle of this program; allowed: what `sweep pack` wrote") from error
        if len(block) < tarfile.BLOCKSIZE:
            raise SweepError(f"{bundle} is cut off after {start:,} bytes") from error
        raise SweepError(f"{bundle} is damaged at byte {start:,}") from error


def _manifest(file: BinaryIO, bundle: Path, members: list[Member]) -> Manifest:
    first = members[0]
    if first.name != MANIFEST or first.size > LARGEST_MANIFEST:
        raise SweepError(f"{bundle} is no bundle of this program; allowed: what `sweep pack` wrote")
    file.seek(first.start)
    return read_manifest(file.read(first.size), bundle)


def _check_names(bundle: Path, manifest: Manifest, members: Iterable[Member]) -> None:
    """Sees that the tar has what the manifest says: no more, no less, and of the same size."""
    sizes = {}
    for member in members:
        if not is_allowed(member.name):
            raise SweepError(f"{bundle} is refused: it has {member.name[:100]!r}, {why_not(member.name)}")
        sizes[member.name] = member.size
    for name in sorted(sizes.keys() | manifest.files.keys()):
        if name not in sizes:
            raise SweepError(f"{bundle} is damaged: {name} is missing")
        if name not in manifest.files:
            raise SweepError(f"{bundle} is damaged: {name} is not in its manifest")
        if sizes[name] != manifest.files[name].size:
            raise SweepError(f"{bundle} is damaged: {name} has another size than was packed")


def _megabytes(count: int) -> str:
    return f"{count / (1 << 20):,.0f} MB"
