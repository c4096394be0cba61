"""Machines that share a database and ARTIFACTS: working folders of their own stand for them."""

import json
import os
import shutil
import signal
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from sweep.file_sets import MANIFEST
from sweep.serve import make_dashboard
from sweep.shared import STATES
from sweep.storage import open_storage
from sweep.store import open_store
from tests.end_to_end.driver import PATIENCE_SECONDS, Driver
from tests.sweep.s3 import SECRET, s3, s3_endpoint, s3_environment

__all__ = ["s3", "s3_endpoint"]
pytestmark = pytest.mark.slow

LONG = ("--n-trials", "2", "--max-steps", "40", "--pruner", "none", "--set", "effective_batch_size=16")


def elsewhere(driver: Driver, name: str) -> Driver:
    """Another machine: the database is where it was, the folder is its own."""
    folder = driver.folder / name
    folder.mkdir()
    other = Driver(driver.tiny, folder, driver.environment)
    other.processes = driver.processes  # which are ended with the others
    return other


@pytest.fixture(params=["folder", "s3"])
def artifacts(request: pytest.FixtureRequest, driver: Driver) -> str:
    if request.param == "folder":
        return str(driver.folder / "shared")
    address: str = request.getfixturevalue("s3")
    driver.environment |= s3_environment(request.getfixturevalue("s3_endpoint"))
    return address


def shown(driver: Driver, artifacts: str) -> dict[int, dict[str, bytes]]:
    """The files that a dashboard on another machine has of each trial."""
    storage = open_storage(str(driver.folder / "shared.db"), create=False)
    with make_dashboard(storage, "127.0.0.1", 0, driver.folder / "nowhere", artifacts) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            root = f"http://127.0.0.1:{server.server_port}"

            def get(path: str) -> bytes:
                with urllib.request.urlopen(f"{root}{path}", timeout=60) as answer:
                    content: bytes = answer.read()
                return content

            study: dict[str, Any] = json.loads(get("/api/studies/1?after=0"))
            return {
                trial["number"]: {
                    file["filename"]: get(f"/artifacts/1/{trial['trial_id']}/{file['artifact_id']}")
                    for file in trial["artifacts"]
                }
                for trial in study["trials"]
            }
        finally:
            server.shutdown()
            thread.join()


def test_a_trial_whose_machine_is_gone_goes_on_elsewhere_from_its_checkpoint(driver: Driver, artifacts: str) -> None:
    """And ends as if nothing had been; the winner is exported, and shown, where nothing was trained."""
    undisturbed = elsewhere(driver, "undisturbed")
    status, output = undisturbed.run(*undisturbed.sweep_arguments(*LONG))
    assert status == 0, output

    shared = ("--storage", str(driver.folder / "shared.db"))
    line = (*LONG, *shared, "--artifacts", artifacts)
    first, second, third = (elsewhere(driver, name) for name in ("first", "second", "third"))
    process = first.start(*first.sweep_arguments(*line))
    first.wait_for_line(process, "trial 1", "2 of 5")
    store = open_store(artifacts, driver.folder)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any("/00001-" in key and key.endswith(MANIFEST) for key in store.sizes(STATES)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    shutil.rmtree(first.folder / "runs")

    status, output = second.run(*second.sweep_arguments(*line))
    assert status == 0, output
    assert "trial 1: goes on with the state in ARTIFACTS" in output
    assert driver.query("select number, state from trials order by number", "shared.db") == [
        (0, "COMPLETE"),
        (1, "COMPLETE"),
    ]
    again = Driver(driver.tiny, driver.folder, driver.environment)
    rows = again.query(
        "select trial_number, train_loss, eval_loss from sweep_reports order by trial_number, evaluation", "shared.db"
    )
    curves: dict[int, list[tuple[float, float]]] = {}
    for number, train, evaluation in rows:
        curves.setdefault(number, []).append((train, evaluation))
    assert curves.keys() == undisturbed.curves().keys()
    for number, points in undisturbed.curves().items():
        assert curves[number] == [pytest.approx(point, abs=1e-5) for point in points]
    # The log begins with the first machine's steps.
    steps = [json.loads(text) for text in (second.folder / "runs/sft_lora/trials/00001/trainer_log.jsonl").open()]
    assert steps[0]["current_steps"] == 1

    status, output = third.run("export", "sft_lora", *shared, "--artifacts", artifacts)
    assert status == 0, output
    exported = third.folder / "exports" / "sft_lora" / "adapter"
    assert (exported / "adapter_model.safetensors").is_file()
    for files in shown(driver, artifacts).values():
        assert files.keys() == {"curve.png", "trainer_log.jsonl", "config.json"}
        assert files["curve.png"].startswith(b"\x89PNG")
    assert SECRET.encode() not in b"".join(file.read_bytes() for file in driver.folder.rglob("*") if file.is_file())


def test_a_store_that_goes_in_mid_sweep_ends_nothing_and_is_told_once(driver: Driver) -> None:
    store = driver.folder / "shared"
    process = driver.start(*driver.sweep_arguments(*LONG, "--artifacts", str(store)))
    read = driver.wait_for_line(process, "trial 0", "2 of 5")
    os.rename(store, driver.folder / "gone")
    store.write_text("no folder any more")
    status, output = driver.finish(process)
    assert status == 0, output
    assert (read + output).count("cannot be reached") == 1
    assert f"ARTIFACTS {store} cannot be reached (" in output
    assert driver.query("select state from trials") == [("COMPLETE",), ("COMPLETE",)]
    assert driver.run("export", "sft_lora")[0] == 0


@pytest.mark.parametrize(
    ("address", "word"), [("s3://me:secret@bucket/x", "AWS_SECRET_ACCESS_KEY"), ("nothing://x", "s3://bucket/prefix")]
)
def test_a_wrong_address_is_refused_before_anything_is_made(driver: Driver, address: str, word: str) -> None:
    driver.environment["LORA_SWEEP_ARTIFACTS"] = address
    status, output = driver.run(*driver.sweep_arguments())
    assert (status, len(output.splitlines())) == (2, 1), output
    assert output.startswith("sweep: ARTIFACTS ")
    assert word in output
    assert "secret@" not in output
    assert not (driver.folder / "runs").exists()


def test_files_of_a_shared_folder_can_be_read_by_their_names(driver: Driver, tmp_path: Path) -> None:
    """What ends is cleared away: an adapter of the best trial alone is left, and no state."""
    status, output = driver.run(
        *driver.sweep_arguments("--n-trials", "2", "--max-steps", "4", "--keep-adapters", "1"),
        *("--artifacts", "shared", "--storage", "a.db"),
    )
    assert status == 0, output
    left = {path.relative_to(driver.folder / "shared").parts[0] for path in (driver.folder / "shared").rglob("*.json")}
    assert left == {"adapters"}
    assert len(list((driver.folder / "shared" / "adapters").glob("*/*/manifest.json"))) == 1
