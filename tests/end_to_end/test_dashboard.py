"""What optuna-dashboard shows of a study: it is served on loopback with pictures, logs, settings and notes."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sweep.serve import make_dashboard
from sweep.storage import open_storage
from tests.end_to_end.driver import Driver

pytestmark = pytest.mark.slow


@contextmanager
def _served(driver: Driver) -> Iterator[str]:
    storage = open_storage(str(driver.folder / "runs" / "sweep.db"), create=False)
    with make_dashboard(storage, "127.0.0.1", 0, driver.folder / "runs") as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def _get(address: str) -> bytes:
    with urllib.request.urlopen(address, timeout=60) as answer:
        content: bytes = answer.read()
    return content


def test_each_trial_has_its_picture_log_settings_and_note(driver: Driver) -> None:
    status, output = driver.run(*driver.sweep_arguments("--n-trials", "2", "--max-steps", "8"))
    assert status == 0, output
    with _served(driver) as address:
        assert b"<html" in _get(f"{address}/dashboard").lower()
        study: dict[str, Any] = json.loads(_get(f"{address}/api/studies/1?after=0"))
        assert study["name"] == "sft_lora"
        assert study["objective_names"] == ["evaluation loss"]
        for trial in study["trials"]:
            assert trial["note"]["body"].startswith("**complete**")
            files = {artifact["filename"]: artifact["artifact_id"] for artifact in trial["artifacts"]}
            assert files.keys() == {"curve.png", "trainer_log.jsonl", "config.json"}
            at = f"{address}/artifacts/1/{trial['trial_id']}"
            assert _get(f"{at}/{files['curve.png']}").startswith(b"\x89PNG")
            log = [json.loads(line) for line in _get(f"{at}/{files['trainer_log.jsonl']}").splitlines()]
            assert sum("eval_loss" in line for line in log) == 5
            assert {"current_steps", "total_steps", "loss", "lr", "epoch", "percentage", "elapsed_time"} <= log[
                0
            ].keys()
            settings = json.loads(_get(f"{at}/{files['config.json']}"))
            assert settings["config"]["lora_alpha"] == settings["params"]["lora_alpha"]
