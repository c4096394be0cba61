"""Files that are damaged, full, gone or changed: the real thing each time, and what is left of the sweep."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.driver import PATIENCE_SECONDS, Driver
from tests.tiny import make_tiny_chats
from trials.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow

LONG = ("--n-trials", "2", "--max-steps", "40", "--pruner", "none", "--set", "effective_batch_size=16")
# Adapters large enough for a small disk to be full.
WIDE = ("--set", "lora_rank=64", "--set", "lora_target=all")
SHORT = ("--n-trials", "1", "--max-steps", "2", "--pruner", "none")
TRIAL = Path("runs/sft_lora/trials/00000")
Curves = dict[int, list[tuple[float, float]]]


def refused(driver: Driver, *arguments: str) -> str:
    """What a command says that is refused: two lines at most, exit status 2."""
    status, output = driver.run(*arguments)
    said = [line for line in output.splitlines() if not line.startswith("load ")]
    assert status == 2, output
    assert 1 <= len(said) <= 2, output
    assert said[0].startswith("sweep: ")
    return output


def undisturbed(driver: Driver, *arguments: str) -> Curves:
    """The curves of the same study when nothing happens to it."""
    folder = driver.folder / "undisturbed"
    folder.mkdir()
    other = Driver(driver.tiny, folder, driver.environment, driver.processes)
    status, output = other.run(*arguments)
    assert status == 0, output
    return other.curves()


def assert_whole(driver: Driver, expected: Curves) -> None:
    assert driver.query("select number, state from trials order by number") == [
        (number, "COMPLETE") for number in expected
    ]
    curves = driver.curves()
    for number, points in expected.items():
        assert curves[number] == [pytest.approx(point, abs=1e-5) for point in points]


# --- checkpoints


@pytest.mark.parametrize("file", ["tensors.safetensors", "state.json"])
def test_a_checkpoint_that_is_cut_off_falls_back_to_the_one_before(driver: Driver, file: str) -> None:
    line = driver.sweep_arguments(*LONG)
    process = driver.start(*line)
    driver.wait_for_line(process, "trial 0", "3 of 5")
    workers = driver.workers_of(process)
    process.send_signal(signal.SIGKILL)
    assert not driver.wait_until_gone(workers, PATIENCE_SECONDS)
    newest = load_checkpoint(driver.folder / TRIAL)
    path = driver.folder / TRIAL / "checkpoint" / file
    os.truncate(path, path.stat().st_size // 2)
    before = load_checkpoint(driver.folder / TRIAL)
    assert newest is not None
    assert before is not None
    assert len(before.values["reports"]) == len(newest.values["reports"]) - 1
    status, output = driver.run(*line)
    assert status == 0, output
    assert_whole(driver, undisturbed(driver, *line))


@pytest.fixture
def small_disk(driver: Driver) -> Iterator[Path]:
    """The study's folder on a disk of two megabytes."""
    folder = driver.folder / "runs" / "sft_lora"
    folder.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("a disk can be mounted by root alone")
    yield folder
    driver.kill_all()
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up_at_a_checkpoint_leaves_the_one_before(driver: Driver, small_disk: Path) -> None:
    line = driver.sweep_arguments(*LONG, *WIDE)
    status, output = driver.run(*line)
    assert status == 1, output
    assert "Traceback" not in output
    told = [text for text in output.splitlines() if text.startswith("sweep: ")]
    assert len(told) == 1
    assert "No space left on device" in told[0]
    assert str(TRIAL) in told[0]
    left = load_checkpoint(driver.folder / TRIAL)
    assert left is not None
    assert len(left.values["reports"]) == 2
    assert [len(points) for points in driver.curves().values()] == [2]
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    status, output = driver.run(*line)
    assert status == 0, output
    assert_whole(driver, undisturbed(driver, *line))


# --- folders


def test_an_output_folder_that_cannot_be_written_is_refused_before_anything_is_made(driver: Driver) -> None:
    (driver.folder / "file").touch()
    for folder in ("/proc/nowhere", "file/runs"):
        said = refused(driver, *driver.sweep_arguments(*SHORT, "--output", folder, "--storage", "a.db"))
        assert f"--output {folder} cannot be made or written" in said
    assert sorted(path.name for path in driver.folder.iterdir()) == ["file"]


def test_a_model_folder_that_is_gone(driver: Driver) -> None:
    """Between two runs it is refused; in a run it is not missed until a worker has to load it anew."""
    model, away = driver.folder / "model", driver.folder / "away"
    shutil.copytree(driver.tiny / "model", model)
    line = driver.sweep_arguments(*LONG, "--model", str(model))
    process = driver.start(*line)
    driver.wait_for_line(process, "trial 0", "2 of 5")
    model.rename(away)
    driver.wait_for_line(process, "trial 1", "2 of 5")  # nobody has missed it
    for worker in driver.workers_of(process):
        worker.kill()
    status, output = driver.finish(process)
    assert status == 1, output
    assert f"no model folder '{model}'" in output
    assert "Traceback" not in output
    assert f"no model folder '{model}'" in refused(driver, *line)
    away.rename(model)
    status, output = driver.run(*line)
    assert status == 0, output
    assert_whole(driver, undisturbed(driver, *line))


# --- data


def test_a_data_file_that_changed_between_runs_is_refused(driver: Driver) -> None:
    data = make_tiny_chats(driver.folder / "mine.jsonl")
    line = driver.sweep_arguments("--max-steps", "2", "--dataset", str(data))
    assert driver.run(*line, "--n-trials", "1")[0] == 0
    original = data.read_text()
    data.write_text(original.replace("red", "blue", 1))
    said = refused(driver, *line, "--n-trials", "2")
    assert "another data set" in said
    assert "mine.jsonl" in said
    assert driver.query("select count(*) from trials where state = 'COMPLETE'") == [(1,)]
    data.write_text(original)
    assert driver.run(*line, "--n-trials", "2")[0] == 0


# --- a cache that a killed first run left


def _kill_as_it_writes(process: "subprocess.Popen[Any]", folder: Path) -> None:
    """Kills a process, and what it started, once a file is there in a folder that it is making."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not any(path.is_file() for path in folder.glob(".*.part/*")):
        assert process.poll() is None, "it was over before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


_PREPARE = """
import sys
from pathlib import Path
from trials.default_model import default_model
print(default_model(Path(sys.argv[1])))
"""


def test_a_default_model_that_was_half_prepared_is_prepared_again(tmp_path: Path) -> None:
    from trials.model import find_model, model_fingerprint

    command = [sys.executable, "-c", _PREPARE, str(tmp_path)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _kill_as_it_writes(process, tmp_path / "models")
    assert [path.name for path in (tmp_path / "models").iterdir() if path.is_dir() and path.name[0] != "."] == []
    folder, _ = find_model("", tmp_path)
    whole, _ = find_model("", Path(os.environ.get("LORA_SWEEP_CACHE") or tmp_path / "other"))
    assert model_fingerprint(folder) == model_fingerprint(whole)
    assert [path.name for path in (tmp_path / "models").iterdir() if path.name.endswith(".part")] == []


def test_data_that_were_half_prepared_are_prepared_again(driver: Driver) -> None:
    data = make_tiny_chats(driver.folder / "many.jsonl", rows=20_000)
    driver.environment["LORA_SWEEP_CACHE"] = str(driver.folder / "cache")
    line = driver.sweep_arguments(*SHORT, "--dataset", str(data), "--max-samples", "16000")
    process = driver.start(*line)
    workers = driver.workers_of(process)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not workers:
        assert time.monotonic() < deadline
        workers = driver.workers_of(process)
    while not any(path.is_file() for path in (driver.folder / "cache" / "data").glob("*.part/*")):
        assert process.poll() is None, "it was over before it could be killed"
        time.sleep(0.001)
    for worker in workers:
        worker.kill()
    process.kill()
    process.wait()
    finished = [path for path in (driver.folder / "cache" / "data").iterdir() if (path / "facts.json").is_file()]
    assert [path for path in finished if not path.name.endswith(".part")] == []
    status, output = driver.run(*line)
    assert status == 0, output
    expected = driver.curves()
    driver.environment["LORA_SWEEP_CACHE"] = str(driver.folder / "fresh")
    assert undisturbed(driver, *line) == expected


# --- adapters


@pytest.fixture
def trained(driver: Driver) -> Path:
    """The adapter of a study of one trial."""
    status, output = driver.run(*driver.sweep_arguments(*SHORT))
    assert status == 0, output
    return driver.folder / TRIAL / "adapter"


def test_an_adapter_that_is_damaged_or_pickled_is_refused_by_all_that_read_it(driver: Driver, trained: Path) -> None:
    weights = trained / "adapter_model.safetensors"
    whole = weights.read_bytes()
    second = driver.sweep_arguments(*SHORT, "--from-study", "sft_lora", "--study", "second", "--model", "")
    export = ("export", "sft_lora")
    for harm, word in (
        (whole[:-10], "cut off"),
        (b"", "cut off"),
        (whole[:-1] + bytes([whole[-1] ^ 1]), "has changed since it was written"),
    ):
        weights.write_bytes(harm)
        for command in (export, second):
            said = refused(driver, *command)
            assert "adapter_model.safetensors" in said
            assert word in said
    weights.rename(trained / "adapter_model.bin")
    for command in (export, second):
        assert "adapter_model.bin, a pickle, which can hold code and is not loaded" in refused(driver, *command)
    assert not (driver.folder / "exports").exists()
    (trained / "adapter_model.bin").unlink()
    weights.write_bytes(whole)
    assert driver.run(*export)[0] == 0
    settings = driver.folder / "exports" / "sft_lora" / "adapter" / "adapter_config.json"
    assert json.loads(settings.read_text())["peft_type"] == "LORA"
