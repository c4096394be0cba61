"""What a sweep makes of its device: the split of the batch, and the precision of the base."""

import json

import pytest

from tests.end_to_end.driver import Driver

pytestmark = pytest.mark.slow


def test_low_memory_runs_on_the_cpu_and_splits_the_batch_as_asked_for(driver: Driver) -> None:
    asked = ("--space", "low_memory", "--per-device-train-batch-size", "3", "--n-trials", "1", "--max-steps", "1")
    status, output = driver.run(*driver.sweep_arguments(*asked))
    assert status == 0, output
    assert "batch  at most 3 rows at once (as asked for), the rest by accumulation" in output
    assert "per_device_train_batch_size 3 does not divide every effective_batch_size: 16 takes 2" in output
    assert "the base is not quantised (quantization_bit: auto): the CPU's memory is not what is short" in output
    ((text,),) = driver.query("select config from sweep_trials")
    config = json.loads(text)
    assert (config["per_device_train_batch_size"], config["gradient_accumulation_steps"]) == (2, 8)
    assert config["quantization_bit"] is None


def test_four_bits_without_bitsandbytes_are_refused_with_what_to_install(driver: Driver) -> None:
    hidden = driver.folder / "hidden"
    hidden.mkdir()
    (hidden / "bitsandbytes.py").write_text("raise ModuleNotFoundError('hidden', name='bitsandbytes')\n")
    before = driver.environment.get("PYTHONPATH")
    driver.environment["PYTHONPATH"] = f"{hidden}:{before}" if before else str(hidden)
    status, output = driver.run(*driver.sweep_arguments("--set", "quantization_bit=4"))
    assert status == 2, output
    assert output.splitlines()[-1].startswith("sweep: quantization_bit is 4, but the model 'model' cannot be quantised")
    assert "bitsandbytes is not installed: pip install 'bitsandbytes>=" in output
    assert "Traceback" not in output
    assert not (driver.folder / "runs").exists()
