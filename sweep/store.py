"""Where artifacts lie: a folder, or a place that fsspec reaches, like `s3://bucket/prefix`.

Knows names and bytes, and nothing of trials. fsspec is what the libraries for data and models use as well; a kind of
place needs its own package (`s3fs` for S3). Credentials are those packages' own matter: they come from the environment
or their own files, and are no part of an address.
"""

import io
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit
from uuid import uuid4

import fsspec
from fsspec.implementations.local import LocalFileSystem

from sweep.errors import SweepError

# The artifacts' folder in the output folder, where no other place is named.
FOLDER = "artifacts"
ALLOWED = "a folder, file://…, s3://bucket/prefix, or another address of fsspec's"
# Characters of what a file system says of a fault.
REASON_CHARACTERS = 200
_PIECE_BYTES = 1 << 20
# A place that does not answer is given up within seconds: there is always another copy.
_S3 = {"connect_timeout": 5, "read_timeout": 60, "retries": {"mode": "standard", "max_attempts": 2}}


class StoreFault(Exception):
    """The store cannot be reached, read or written; the message is the file system's own, in a line."""


class Store:
    """Files by name in one place.

    It is an artifact store of Optuna's as well, so that a dashboard reads from it.

    Attributes:
        name: What people call it; it holds no password.
        shared: Whether it was asked for, and not just the folder beside the studies.
    """

    def __init__(self, files: Any, root: str, name: str, *, shared: bool) -> None:
        """Takes a file system of fsspec's and a folder in it; see `open_store`."""
        self._files, self._root, self.name, self.shared = files, root, name, shared
        self._local = isinstance(files, LocalFileSystem)

    def put(self, key: str, content: Path | bytes) -> None:
        """Writes a file, in place of one of that name.

        Raises:
            StoreFault: It cannot be written.
            OSError: What is to be written cannot be read.
        """
        path = self._path(key)
        with _reader(content) as source, self._faults():
            if not self._local:
                with self._files.open(path, "wb") as file:
                    shutil.copyfileobj(source, file)
                return
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            part = Path(f"{path}.{uuid4().hex}.part")
            try:
                with part.open("wb") as file:
                    shutil.copyfileobj(source, file)
                part.replace(path)
            finally:
                part.unlink(missing_ok=True)

    def read(self, key: str) -> Iterator[bytes] | None:
        """The content of a file in pieces; None when there is none.

        Raises:
            StoreFault: It cannot be read, at this call or at a later piece.
        """
        file = self._open(key)
        return None if file is None else self._pieces(file)

    def sizes(self, folder: str) -> dict[str, int]:
        """The files below a folder by name, with their bytes; none when there is no such folder.

        Raises:
            StoreFault: It cannot be read.
        """
        with self._faults():
            # What another machine wrote must be seen, and what it deleted must not.
            self._files.invalidate_cache()
            try:
                found = self._files.find(self._path(folder), detail=True)
            except FileNotFoundError:
                return {}
        begin = len(self._root) + 1
        return {path[begin:]: int(facts["size"] or 0) for path, facts in found.items() if facts["type"] == "file"}

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes files; those that are gone already count as deleted.

        Raises:
            StoreFault: One cannot be deleted.
        """
        for key in keys:
            with self._faults():
                try:
                    self._files.rm_file(self._path(key))
                except FileNotFoundError:
                    continue

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """As Optuna's artifact stores do.

        Raises:
            ArtifactNotFound: There is none of that name.
        """
        from optuna.artifacts.exceptions import ArtifactNotFound  # the process that draws pictures needs no Optuna

        file = self._open(artifact_id)
        if file is None:
            raise ArtifactNotFound(f"no artifact {artifact_id} in {self.name}")
        return file

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """As Optuna's artifact stores do."""
        self.put(artifact_id, content_body.read())

    def remove(self, artifact_id: str) -> None:
        """As Optuna's artifact stores do."""
        self.delete([artifact_id])

    def check(self) -> None:
        """Finds out whether it can be written, and leaves nothing there.

        Raises:
            SweepError: It cannot.
        """
        probe = f".probe-{uuid4().hex}"
        try:
            self.put(probe, b"")
            self.delete([probe])
        except StoreFault as fault:
            raise SweepError(f"ARTIFACTS {self.name} cannot be written: {fault}") from fault

    def _open(self, key: str) -> BinaryIO | None:
        with self._faults():
            try:
                file: BinaryIO = self._files.open(self._path(key), "rb")
            except FileNotFoundError:
                return None
            return file

    def _pieces(self, file: BinaryIO) -> Iterator[bytes]:
        with file:
            while True:
                with self._faults():
                    piece = file.read(_PIECE_BYTES)
                if not piece:
                    return
                yield piece

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            told = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
            raise StoreFault(told.splitlines()[0][:REASON_CHARACTERS]) from error


def open_store(address: str, output: Path) -> Store:
    """Opens the place that ARTIFACTS names; nothing is read or written yet.

    Args:
        address: A folder or an address of fsspec's; empty for the folder in `output`.
        output: The output folder.

    Raises:
        SweepError: It is no such address, holds a password, or needs a package that is not installed.
    """
    if not address:
        return _folder(output / FOLDER, shared=False)
    if "://" not in address:
        return _folder(Path(os.path.expanduser(address)), shared=True)
    kind, place = _parse(address)
    if kind in ("file", "local"):
        return _folder(Path(place), shared=True)
    try:
        options = {"config_kwargs": _S3} if kind in ("s3", "s3a") else {}
        files = fsspec.filesystem(kind, use_listings_cache=False, skip_instance_cache=True, **options)
    except ImportError as error:
        extra = "pip install 'lora-sweep[s3]'" if kind in ("s3", "s3a") else str(error).splitlines()[0]
        raise SweepError(f"ARTIFACTS {address} needs a package that is not installed: {extra}") from error
    except Exception as error:  # each kind of file system has errors of its own
        raise SweepError(f"ARTIFACTS {address} cannot be opened: {str(error).splitlines()[0]}") from error
    return Store(files, place.rstrip("/"), address, shared=True)


def _parse(address: str) -> tuple[str, str]:
    """The kind of file system of an address, and the path in it."""
    try:
        parts = urlsplit(address)
    except ValueError as error:
        raise SweepError(f"ARTIFACTS is no address; allowed: {ALLOWED}") from error
    if "@" in parts.netloc or parts.query:
        # What was given is not repeated: it may be a password.
        raise SweepError(
            f"ARTIFACTS {parts.scheme}://… holds a user, a password or options; allowed: {ALLOWED}, "
            "with credentials in the environment (for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)"
        )
    kind, place = parts.scheme.lower(), address.split("://", 1)[1]
    if "::" in address or kind in ("memory", "data") or kind not in fsspec.available_protocols():
        raise SweepError(f"ARTIFACTS is {address!r}; allowed: {ALLOWED}")
    if not place.strip("/"):
        raise SweepError(f"ARTIFACTS is {address!r}, which names no place; allowed: {ALLOWED}")
    return kind, place


def _folder(folder: Path, *, shared: bool) -> Store:
    return Store(LocalFileSystem(), str(folder.absolute()), str(folder), shared=shared)


def _reader(content: Path | bytes) -> BinaryIO:
    return content.open("rb") if isinstance(content, Path) else io.BytesIO(content)
