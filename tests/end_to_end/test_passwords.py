"""A password in STORAGE comes out of no command and is in no file, whatever becomes of the connection."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from sweep.cli import app
from tests.end_to_end.driver import Driver
from tests.end_to_end.inside import call

SECRET = "s3cr3tw0rd"
PLACES = (
    f"postgresql+psycopg://me:{SECRET}@127.0.0.1:{{port}}/none",
    f"postgresql+psycopg://127.0.0.1:{{port}}/none?user=me&password={SECRET}&connect_timeout=5",
)
# URLs that were mistyped, none of which a driver sees.
MISTYPED = (
    f"postgresql+psycopg:/me:{SECRET}@127.0.0.1/none",
    f"postgresql:me:{SECRET}@127.0.0.1/none",
    f"postgres//me:{SECRET}@127.0.0.1/none",
    f"postgresql+psycopg://me:a@{SECRET}@127.0.0.1/none",
    f"postgresql+psycopg://me:{SECRET}@127.0.0.1:port/none",
    f"nothing+known://me:{SECRET}@127.0.0.1/none",
    f"postgresql+unknown://me:{SECRET}@127.0.0.1/none",
    f"mysql+pymysql://me:{SECRET}@127.0.0.1:9/none",
)


def commands(driver: Driver) -> dict[str, list[str]]:
    """Every command that takes STORAGE, without it."""
    (driver.folder / "t.csv").write_text("lora_rank,loss\n8,2.0\n16,1.9\n", encoding="utf8")
    return {
        "run": driver.sweep_arguments("--n-trials", "1"),
        "show": ["show", "s"],
        "list": ["list"],
        "import": ["import", str(driver.folder / "t.csv")],
        "compare": ["compare", "s", "--by", "lora_rank"],
        "confirm": ["confirm", "s", "--gpus", "cpu"],
        "diagnose": ["diagnose", "s/1"],
        "export": ["export", "s"],
        "dashboard": ["dashboard", "--port", "0"],
        "report": ["report", "s"],
        "pack": ["pack", "s"],
        "unpack": ["unpack", str(driver.folder / "none.tar")],  # whose bundle is looked for first
    }


def test_every_command_that_takes_storage_is_tried(driver: Driver) -> None:
    from typer.main import get_group

    with_storage = {name for name, c in get_group(app).commands.items() if any(p.name == "storage" for p in c.params)}
    assert with_storage == commands(driver).keys()


def _check(driver: Driver, output: str) -> None:
    assert SECRET not in output
    assert "Traceback" not in output
    files = [path for path in driver.folder.rglob("*") if path.is_file()]
    assert not [path for path in driver.folder.rglob("*") if SECRET in path.name]
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


@pytest.fixture
def rude_port() -> Iterator[int]:
    """A port of a server that answers with what no database says, and cuts the connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(100)
                    connection.sendall(b"E\x00\x00\x00\x10SFATAL\x00Mno\x00\x00")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_no_command_tells_a_password(
    driver: Driver, rude_port: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        closed_port = closed.getsockname()[1]  # nobody listens there from here on
    tried = commands(driver)
    # A connection that is refused, for each command; one that is cut, and mistyped URLs, for one that tells most.
    calls = [(name, place.format(port=closed_port)) for name in tried for place in PLACES]
    calls += [("list", place.format(port=rude_port)) for place in PLACES]
    for name, storage in calls:
        status, output = call(driver.folder, monkeypatch, capfd, *tried[name], "--storage", storage)
        assert status == 2, output
        assert "STORAGE postgresql+psycopg://" in output or name == "unpack"
        _check(driver, output)


@pytest.mark.parametrize("storage", MISTYPED)
def test_no_mistyped_url_tells_its_password(
    storage: str, driver: Driver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = driver.sweep_arguments("--n-trials", "1", "--storage", storage)
    status, output = call(driver.folder, monkeypatch, capfd, *arguments)
    assert (status, output.count("\n")) == (2, 1), output
    _check(driver, output)
    assert not (driver.folder / "runs").exists()


@pytest.mark.slow
def test_a_study_in_a_file_keeps_no_address_of_its_own(driver: Driver) -> None:
    """What goes into files and tables tells where the study is by no address: there a password could be."""
    storage = f"sqlite:///{driver.folder}/{SECRET}.db"
    status, output = driver.run(*driver.sweep_arguments("--n-trials", "1", "--max-steps", "4", "--storage", storage))
    assert status == 0, output
    driver.run("export", "sft_lora", "--storage", storage)
    places = [path for folder in ("runs", "exports") for path in (driver.folder / folder).rglob("*") if path.is_file()]
    assert places
    assert not [path for path in places if SECRET.encode() in path.read_bytes()]
    told = driver.query("select value_json from study_user_attributes", f"{SECRET}.db")
    assert SECRET not in json.dumps(told)
