"""The sanity test as a user runs it, by a real worker; and a sweep's header where a check finds something wrong."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.driver import Driver


def sanity(driver: Driver, *more: str) -> tuple[int, str]:
    """`sweep sanity` of the tiny model, whose random weights nothing can be learnt on by heart."""
    tiny = ("--model", str(driver.tiny / "model"), "--dataset", str(driver.tiny / "chats.jsonl"))
    return driver.run("sanity", *tiny, "--gpus", "cpu", "--dtype", "fp32", *more)


@pytest.mark.slow
def test_a_trial_is_trained_judged_and_nothing_is_left(driver: Driver) -> None:
    status, output = sanity(driver)
    assert status == 1, output
    assert "check  template: the tokenizer's own; tokenizer and model know <|im_start|>, <|im_end|>" in output
    assert "check  ends: answers end with <|im_end|>, at which the model stops" in output
    assert "4 passes over 72 rows" in output
    assert "Does not over-fit: training loss" in output
    assert "note" not in output
    assert list(driver.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--space", "sft-lora"), ("sft-lora", "Did you mean sft_lora?")),
        (("--set", "lora_rnk=8"), ("lora_rnk", "lora_rank")),
        (("--set", "cutoff_len=64,128"), ("searches cutoff_len",)),
        (("--seed", "-1"), ("SEED is -1", "at least 0")),
        (("--gpus", "97"), ("no GPU 97", "GPUS=cpu")),
        (("--scale-lr", "maybe"), ("SCALE_LR is 'maybe'", "auto, on, off")),
        (("--dataset", "no/such/file.jsonl"), ("no such file: no/such/file.jsonl",)),
        (("--model", "./nothing"), ("no model folder './nothing'",)),
    ],
)
def test_what_cannot_be_is_refused(driver: Driver, arguments: tuple[str, str], words: tuple[str, ...]) -> None:
    status, output = sanity(driver, *arguments)
    lines = [line for line in output.splitlines() if not line.startswith("load ")]
    assert (status, len(lines) <= 2, "Traceback" in output) == (2, True, False), output
    assert all(word in output for word in words), output
    assert list(driver.folder.iterdir()) == []


@pytest.mark.slow
def test_a_sweep_notes_what_is_wrong_and_nothing_else(driver: Driver, tmp_path: Path) -> None:
    rows = [{"instruction": f"say {number} things", "output": "n/a"} for number in range(40)]
    (tmp_path / "alike.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf8")
    wrong = ("--dataset", "alike.jsonl", "--set", "lr_scheduler_type=constant", "--scale-lr", "off")
    short = ("--n-trials", "1", "--max-samples", "32", "--max-steps", "12", "--set", "effective_batch_size=8")
    status, output = driver.run(*driver.sweep_arguments(*short, *wrong))
    assert status == 0, output
    notes = [line for line in output.splitlines() if line.startswith("note ")]
    assert len(notes) == 2, output
    assert "lr_scheduler_type constant has no warm-up" in notes[1]
    assert "rows have the same answer" in notes[0]
    status, output = driver.run(*driver.sweep_arguments("--n-trials", "1", "--study", "good", "--scale-lr", "off"))
    assert status == 0, output
    assert ["num_train_epochs is not searched" in line for line in output.splitlines() if line[:5] == "note "] == [True]
