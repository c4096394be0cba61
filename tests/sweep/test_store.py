"""The store of artifacts: a folder, and a local S3."""

import io
import os
import socket
import sys
from pathlib import Path

import pytest
from optuna.artifacts.exceptions import ArtifactNotFound

from sweep.errors import SweepError
from sweep.store import Store, StoreFault, open_store
from tests.sweep.s3 import s3, s3_endpoint

__all__ = ["s3", "s3_endpoint"]


@pytest.fixture(params=["folder", "file", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    addresses = {"folder": str(tmp_path / "shared"), "file": f"file://{tmp_path}/shared"}
    address = addresses.get(request.param) or request.getfixturevalue("s3")
    return open_store(address, tmp_path / "runs")


def content(store: Store, key: str) -> bytes | None:
    pieces = store.read(key)
    return None if pieces is None else b"".join(pieces)


def test_what_is_put_is_read_listed_replaced_and_deleted(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 3_000_000)
    store.check()
    assert store.sizes("") == {}
    store.put("a/b/one", b"1")
    store.put("a/two", file)
    assert store.sizes("a") == {"a/b/one": 1, "a/two": 3_000_000}
    assert store.sizes("a/b") == {"a/b/one": 1}
    assert content(store, "a/two") == file.read_bytes()
    store.put("a/b/one", b"11")
    assert content(store, "a/b/one") == b"11"
    store.delete(["a/b/one", "a/b/one", "never/there"])
    assert store.sizes("a") == {"a/two": 3_000_000}
    assert content(store, "a/b/one") is None
    assert store.shared


def test_what_another_one_wrote_is_seen_at_once(store: Store, tmp_path: Path) -> None:
    address = f"s3://{store._root}" if store.name.startswith("s3") else store.name
    other = open_store(address, tmp_path)
    assert store.sizes("a") == {}
    other.put("a/one", b"1")
    assert store.sizes("a") == {"a/one": 1}
    other.delete(["a/one"])
    assert store.sizes("a") == {}


def test_it_is_an_artifact_store_of_optunas(store: Store) -> None:
    store.write("id", io.BytesIO(b"picture"))
    with store.open_reader("id") as file:
        assert file.read() == b"picture"
    store.remove("id")
    with pytest.raises(ArtifactNotFound):
        store.open_reader("id")


def test_a_file_that_goes_before_it_is_sent_is_no_fault_of_the_store(store: Store, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        store.put("key", tmp_path / "gone")
    assert store.sizes("") == {}


def test_no_half_file_is_seen_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(tmp_path), tmp_path)
    store.put("key", b"first")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", fail)
    with pytest.raises(StoreFault, match="No space left on device"):
        store.put("key", b"second")
    assert [path.name for path in tmp_path.iterdir()] == ["key"]
    assert (tmp_path / "key").read_bytes() == b"first"


def test_without_an_address_it_is_the_folder_beside_the_studies(tmp_path: Path) -> None:
    store = open_store("", tmp_path / "runs")
    assert not store.shared
    store.put("id", b"1")
    assert (tmp_path / "runs" / "artifacts" / "id").read_bytes() == b"1"


# --- what is refused, in a line


def refused(address: str, tmp_path: Path) -> str:
    with pytest.raises(SweepError) as error:
        open_store(address, tmp_path).check()
    text = str(error.value)
    assert len(text.splitlines()) == 1
    assert text.startswith("ARTIFACTS ")
    return text


@pytest.mark.parametrize(
    "address",
    ["s3://me:secret@bucket/x", "s3://secret@bucket", "sftp://me:secret@host/x", "https://host/x?token=secret"],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(address: str, tmp_path: Path) -> None:
    text = refused(address, tmp_path)
    assert "secret" not in text
    assert "AWS_SECRET_ACCESS_KEY" in text


@pytest.mark.parametrize(
    "address", ["nothing://there", "memory://x", "s3://", "simplecache::s3://bucket/x", "s3://[", "://", "file://"]
)
def test_what_is_no_place_is_told_with_what_is_allowed(address: str, tmp_path: Path) -> None:
    assert "s3://bucket/prefix" in refused(address, tmp_path)


@pytest.mark.parametrize(
    ("address", "word"), [("s3://bucket/x", r"pip install 'lora-sweep[s3]'"), ("gs://bucket/x", "gcsfs")]
)
def test_a_missing_package_is_named(address: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("s3fs", "gcsfs"):
        monkeypatch.setitem(sys.modules, module, None)
        monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, module.removesuffix("fs"), raising=False)
    assert word in refused(address, tmp_path)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in refused(str(tmp_path / "file"), tmp_path)


def test_a_bucket_that_there_is_not(s3: str, tmp_path: Path) -> None:
    assert "s3://elsewhere/x cannot be written" in refused("s3://elsewhere/x", tmp_path)


def test_a_server_that_does_not_answer(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        text = refused(s3, tmp_path)
    assert "cannot be written" in text
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in text


def test_no_credentials(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert "credentials" in refused(s3, tmp_path).lower()
