"""Bundles that an enemy, a broken disk or a cut connection made: one line each, and nothing is touched."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.bundles import archive, layout
from sweep.bundles.unpack import unpack
from sweep.errors import SweepError
from tests.sweep.bundles.studies import files_below
from tests.sweep.bundles.tars import contents_of, sealed, tar_of


def refused(bundle: Path, folder: Path, match: str) -> None:
    """Sees that unpacking fails in so many words of one line, and that nothing is left of it."""
    folder.mkdir(exist_ok=True)
    before = files_below(folder)
    with pytest.raises(SweepError, match=match) as caught:
        unpack(bundle, str(folder / "there" / "sweep.db"), folder / "there" / "runs")
    assert "\n" not in str(caught.value)
    assert files_below(folder) == before
    assert not (folder / "there").exists(), "not even a folder"


def add(tar: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **more: Any) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for key, value in more.items():
        setattr(info, key, value)
    tar.addfile(info, io.BytesIO(content))


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("/etc/passwd", tarfile.REGTYPE, "'/etc/passwd', an absolute path"),
        ("../../.bashrc", tarfile.REGTYPE, "a path that climbs out of its folder"),
        ("trials/00001/../../../x.json", tarfile.REGTYPE, "a path that climbs out of its folder"),
        ("trials/00001/adapter/adapter_model.bin", tarfile.REGTYPE, "a pickle, which may run code"),
        ("notes.txt", tarfile.REGTYPE, "nothing that a bundle has"),
        ("study.db", tarfile.REGTYPE, "it has 'study.db' twice"),
        ("trials/00001/config.json", tarfile.SYMTYPE, "is a link; allowed: regular files"),
        ("trials/00001/config.json", tarfile.LNKTYPE, "is a link"),
        ("trials/00001/config.json", tarfile.CHRTYPE, "is a device"),
        ("trials/00001/config.json", tarfile.BLKTYPE, "is a device"),
        ("trials/00001/config.json", tarfile.FIFOTYPE, "is a named pipe"),
        ("trials", tarfile.DIRTYPE, "is a folder by itself"),
        ("x", tarfile.XHDTYPE, "is an extended header"),
        ("x", tarfile.GNUTYPE_LONGNAME, "is an extended header"),
        ("x", tarfile.GNUTYPE_SPARSE, "is an extended header"),
    ],
)
def test_members_that_no_bundle_has(bundle: Path, tmp_path: Path, name: str, kind: bytes, told: str) -> None:
    parts = contents_of(bundle)
    with tarfile.open(tmp_path / "evil.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for part, content in parts.items():
            add(tar, part, content=content)
        add(tar, name, kind, linkname="/etc/passwd")
    refused(tmp_path / "evil.tar", tmp_path, told)


def test_a_manifest_may_not_name_them_either(bundle: Path, tmp_path: Path) -> None:
    parts = contents_of(bundle) | {"../escape.json": b"{}"}
    refused(sealed(parts, tmp_path / "evil.tar"), tmp_path, "a path that climbs out")


def change(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda manifest: manifest.update({key: value})


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (change("format", 2), "has format '2', written by version .*; this one, .*, reads format 1. Use that version"),
        (change("program", "tar"), "is no bundle of this program"),
        (change("study", "x\x1b[31m"), "its manifest is incomplete or malformed"),
        (change("study", ""), "its manifest is incomplete or malformed"),
        (change("study", "another"), "its database cannot be read: it does not hold the study 'another'"),
        (change("machine", {"host": 1}), "its manifest is incomplete or malformed"),
        (change("machine", None), "its manifest is incomplete or malformed"),
        (change("trials", {"complete": float("inf")}), "its manifest is incomplete or malformed"),
        (change("files", {}), "its manifest is incomplete or malformed"),
        (change("files", {"study.db": {"size": -1, "sha256": ""}}), "its manifest is incomplete or malformed"),
        (lambda manifest: manifest["files"]["study.db"].update(size=7), "study.db has another size than was packed"),
        (lambda manifest: manifest["files"]["study.db"].update(sha256="0" * 64), "study.db is not what was packed"),
        (lambda manifest: manifest["files"].pop("trials/00000/config.json"), "config.json is not in its manifest"),
        (
            lambda manifest: manifest["files"].update({"trials/00077/config.json": {"size": 1, "sha256": ""}}),
            "trials/00077/config.json is missing",
        ),
    ],
)
def test_manifests_that_do_not_fit(
    bundle: Path, tmp_path: Path, spoil: Callable[[dict[str, Any]], None], told: str
) -> None:
    parts = contents_of(bundle)
    manifest = json.loads(parts[layout.MANIFEST])
    spoil(manifest)
    parts[layout.MANIFEST] = json.dumps(manifest).encode()
    refused(tar_of(parts, tmp_path / "spoilt.tar"), tmp_path, told)


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 100_000, b"null", b'"x"', b"\xff", b'{"program": ' + b"9" * 9999])
def test_manifests_that_are_none(tmp_path: Path, text: bytes) -> None:
    refused(tar_of({layout.MANIFEST: text}, tmp_path / "x.tar"), tmp_path, "is damaged: its manifest|is no bundle")


@pytest.mark.parametrize("kept", [0, 1, 511, 512, 1024, 4096, 10_000, 0.5, 0.9, -20_000, -10_240, -513])
def test_a_truncated_bundle(bundle: Path, tmp_path: Path, kept: float) -> None:
    content = bundle.read_bytes()
    end = int(kept * len(content)) if isinstance(kept, float) else kept if kept >= 0 else len(content) + kept
    padding = len(content) - len(content.rstrip(b"\0"))
    (tmp_path / "cut.tar").write_bytes(content[:end])
    if end > len(content) - padding + 1024:
        pytest.skip("only padding was cut off")
    refused(tmp_path / "cut.tar", tmp_path, "is cut off|is no bundle of this program")


def test_what_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "text.tar").write_text("hello " * 1000)
    refused(tmp_path / "text.tar", tmp_path, "is no bundle of this program; allowed: what `sweep pack` wrote")
    refused(tmp_path / "missing.tar", tmp_path, "no bundle at .*missing.tar")
    refused(tmp_path, tmp_path, "no bundle at .*: that is a folder")
    refused(tar_of({"a.txt": b"1"}, tmp_path / "other.tar"), tmp_path, "is no bundle of this program")


def test_more_files_than_any_study_has(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_MEMBERS", 5)
    refused(bundle, tmp_path, "has more than 5 files")


def test_sizes_that_only_the_headers_have(bundle: Path, tmp_path: Path) -> None:
    """A header may declare any size; it is believed as far as the file goes."""
    info = tarfile.TarInfo(layout.MANIFEST)
    for size in (1 << 40, (1 << 62) + 5):
        info.size = size
        (tmp_path / "bomb.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"{}")
        refused(tmp_path / "bomb.tar", tmp_path, "is cut off, or damaged")


def test_a_disk_that_is_too_small(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10))
    refused(bundle, tmp_path, "needs . MB of disk, and 0 MB are free")
