"""What a user can get wrong: each is one or two lines, exit status 2, no traceback, and leaves nothing behind."""

import json
import socket
from pathlib import Path

import pytest

from tests.end_to_end.driver import Driver


def _assert_refused(driver: Driver, arguments: list[str], *words: str) -> None:
    status, output = driver.run(*arguments)
    assert status == 2, output
    lines = [line for line in output.splitlines() if not line.startswith("load ")]
    assert lines[0].startswith("sweep: ")
    assert 1 <= len(lines) <= 2, output
    assert "Traceback" not in output
    for word in words:
        assert word in output
    assert not (driver.folder / "runs").exists(), "something was half-written"


def _space_file(driver: Driver, text: str) -> str:
    path = driver.folder / "mine.yaml"
    path.write_text(text, encoding="utf8")
    return str(path)


def _data_file(driver: Driver, name: str, text: str) -> str:
    path = driver.folder / name
    path.write_text(text, encoding="utf8")
    return str(path)


def test_unknown_space(driver: Driver) -> None:
    _assert_refused(driver, driver.sweep_arguments("--space", "sft-lora"), "sft-lora", "Did you mean sft_lora?")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stage: sft\nserach: {}\n", ("serach", "search")),
        ("stage: sft\nsearch:\n  learning_rate: {float: [1.0e-3, 1.0e-4]}\n", ("learning_rate", "0.001", "0.0001")),
        ("stage: sft\nderived:\n  lora_rank: lora_alpha * 2\n  lora_alpha: lora_rank * 2\n", ("lora_rank", "->")),
        ("stage: sft\nfixed:\n  lora_rnk: 8\n", ("lora_rnk", "lora_rank")),
        ("stage: sft\nfixed: [\n", ("mine.yaml", "line")),
        ("", ("mine.yaml",)),
    ],
    ids=["unknown key", "inverted range", "derived cycle", "unknown field", "not YAML", "empty file"],
)
def test_wrong_space_file(driver: Driver, text: str, words: tuple[str, ...]) -> None:
    _assert_refused(driver, driver.sweep_arguments("--space", _space_file(driver, text)), *words)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--n-trials", "0", ("N_TRIALS is 0", "at least 1")),
        ("--max-steps", "0", ("MAX_STEPS is 0", "at least 1")),
        ("--max-samples", "-1", ("MAX_SAMPLES is -1", "at least 1")),
        ("--seed", "-1", ("SEED is -1", "at least 0")),
        ("--gpus", "97", ("no GPU 97", "GPUS=cpu")),
        ("--gpus", "first", ("'first'", "indices like 0,1")),
        ("--trials-per-gpu", "0", ("TRIALS_PER_GPU is '0'", "auto, or a whole number of at least 1")),
        ("--trials-per-gpu", "many", ("TRIALS_PER_GPU is 'many'", "auto, or a whole number")),
        ("--gpus-per-trial", "2", ("GPUS_PER_TRIAL is 2", "CPU")),
        ("--pruner", "hyperband", ("'hyperband'", "trend, median, none")),
        ("--dtype", "fp8", ("'fp8'", "auto, bf16, fp32")),
        ("--set", "learning_rate=1..2", ("learning_rate", "limits")),
        ("--set", "lora_rank", ("lora_rank", "=")),
        ("--set", "quantization_bit=3", ("quantization_bit 3", "0 (off), 4, 8, auto")),
        ("--set", "quantization_bit=4,8", ("searches quantization_bit", "--set quantization_bit=4")),
        ("--per-device-train-batch-size", "0", ("PER_DEVICE_TRAIN_BATCH_SIZE is 0", "at least 1")),
        ("--set", "lora_rnk=8", ("lora_rnk", "lora_rank")),
        ("--storage", "mysql//nothing://", ("STORAGE",)),
        ("--storage", "/proc/version/sweep.db", ("STORAGE /proc/version/sweep.db cannot be made",)),
        ("--storage", "postgresql+psycopg://me:secret@127.0.0.1:9/none", ("STORAGE postgresql+psycopg://me:***@",)),
    ],
)
def test_wrong_option(driver: Driver, option: str, value: str, words: tuple[str, ...]) -> None:
    _assert_refused(driver, driver.sweep_arguments(option, value), *words)


def test_a_password_is_not_shown(driver: Driver) -> None:
    _, output = driver.run(*driver.sweep_arguments("--storage", "postgresql+psycopg://me:secret@127.0.0.1:9/none"))
    assert "secret" not in output


def test_storage_that_is_no_database(driver: Driver) -> None:
    path = _data_file(driver, "notes.db", "this is no database\n" * 100)
    _assert_refused(driver, driver.sweep_arguments("--storage", path), "notes.db", "cannot be opened")


def test_storage_that_is_read_only(driver: Driver) -> None:
    driver.run("list", "--storage", "sqlite:///made.db")  # there is none; nothing is made
    assert not (driver.folder / "made.db").exists()
    (driver.folder / "made.db").touch()
    _assert_refused(driver, driver.sweep_arguments("--storage", "sqlite:///file:made.db?mode=ro&uri=true"), "readonly")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("empty.jsonl", "", ("empty.jsonl",)),
        ("broken.jsonl", '{"messages": []}\n{"messages": [', ("broken.jsonl, line 2", "not JSON")),
        (
            "other.jsonl",
            '{"question": "why", "reply": "so"}\n',
            ("question", "reply", "alpaca", "sharegpt", "messages"),
        ),
        ("silent.jsonl", '{"instruction": "", "output": ""}\n' * 20, ("silent.jsonl",)),
        ("few.jsonl", '{"instruction": "a", "output": "b"}\n{"instruction": "c", "output": "d"}\n', ("val_size", "8")),
        ("plain.jsonl", '{"text": "just some text"}\n' * 20, ("sft",)),
    ],
    ids=lambda value: value if isinstance(value, str) and value.endswith("jsonl") else "",
)
def test_wrong_data(driver: Driver, name: str, text: str, words: tuple[str, ...]) -> None:
    _assert_refused(driver, driver.sweep_arguments("--dataset", _data_file(driver, name, text)), *words)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--dataset", "nowhere/train.jsonl", ("no such file", "nowhere/train.jsonl")),
        ("--model", "./nowhere", ("no model folder './nowhere'",)),
        ("--model", "nobody/nothing", ("no model 'nobody/nothing'", "hub")),
        ("--set", "lora_target=query_key_value", ("query_key_value", "q_proj", "named sets")),
    ],
)
def test_what_only_a_worker_finds(driver: Driver, option: str, value: str, words: tuple[str, ...]) -> None:
    _assert_refused(driver, driver.sweep_arguments(option, value), *words)


@pytest.mark.slow
def test_a_pickled_model_is_refused_by_name(driver: Driver) -> None:
    folder = driver.folder / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf8")
    (folder / "pytorch_model.bin").write_bytes(b"\x80")
    _assert_refused(driver, driver.sweep_arguments("--model", str(folder)), "pytorch_model.bin", "safetensors")


@pytest.mark.parametrize(
    "command", [["show", "none"], ["list"], ["export", "none"], ["dashboard"]], ids=lambda command: command[0]
)
def test_no_database_yet(driver: Driver, command: list[str]) -> None:
    _assert_refused(driver, command, "no study database at runs/sweep.db")


@pytest.mark.slow
def test_what_a_study_refuses(driver: Driver) -> None:
    """One study, and every way to ask for another under its name; each is told apart."""
    short = ("--n-trials", "1", "--max-steps", "1")
    assert driver.run(*driver.sweep_arguments(*short))[0] == 0
    before = driver.query("select count(*) from trials")

    def refused(*more: str) -> str:
        status, output = driver.run(*driver.sweep_arguments(*short, *more))
        assert status == 2, output
        assert "Traceback" not in output
        assert "losses would not compare" in output
        assert "STUDY=" in output
        return output

    assert "another budget (max_rows 16, now 64" in refused("--max-steps", "4")
    assert "another seed (42, now 7)" in refused("--seed", "7")
    assert "differs in learning_rate" in refused("--set", "learning_rate=1e-5..1e-2")
    mine = _space_file(driver, "stage: sft\nfixed: {lora_rank: 8, lora_alpha: 16}\n")
    assert "another space (sft_lora, now mine)" in refused("--space", mine, "--study", "sft_lora")
    other = driver.folder / "other.jsonl"
    rows = [{"instruction": f"question {i}", "output": f"answer {i}"} for i in range(40)]
    other.write_text("\n".join(map(json.dumps, rows)), encoding="utf8")
    assert "another data set (chats.jsonl, now other.jsonl)" in refused("--dataset", str(other))
    assert driver.query("select count(*) from trials") == before

    status, output = driver.run(*driver.sweep_arguments(*short, "--dataset", str(other), "--force"))
    assert status == 0, output
    assert driver.query("select study_name from studies order by study_name") == [("sft_lora",), ("sft_lora-2",)]


@pytest.mark.slow
def test_unknown_study_and_trial_and_port(driver: Driver) -> None:
    assert driver.run(*driver.sweep_arguments("--n-trials", "1", "--max-steps", "1"))[0] == 0

    def refused(*arguments: str) -> str:
        status, output = driver.run(*arguments)
        assert status == 2, output
        assert "Traceback" not in output
        assert len(output.splitlines()) <= 2
        return output

    assert "Did you mean sft_lora?" in refused("show", "sft-lora")
    assert "no trial 9" in refused("export", "sft_lora", "--trial", "9")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port}" in refused("dashboard", "--port", port)
    assert "70000" in refused("dashboard", "--port", "70000")


def test_help_reads_well(help_text: str) -> None:
    for command in ("run", "show", "list", "export", "dashboard", "spaces", "space"):
        assert f"  {command} " in help_text


def test_unknown_command_and_option_exit_with_2(driver: Driver) -> None:
    assert driver.run("swep")[0] == 2
    assert driver.run("run", "--spice", "sft_lora")[0] == 2
    assert not Path(driver.folder / "runs").exists()
