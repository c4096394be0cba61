"""What `sweep plan` counts, prints and refuses."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweep.errors import SweepError
from sweep.plan_command import plan_command
from tests.tiny import make_tiny_chats


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with texts (one of them blank), chats, and an Alpaca that has a text column too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    (tmp_path / "my docs").mkdir()
    for name, texts in (("a", ["one", "two", " "]), ("b", ["three"])):
        lines = "\n".join(json.dumps({"text": text}) for text in texts)
        (tmp_path / "my docs" / f"{name}.jsonl").write_text(lines)
    make_tiny_chats(tmp_path / "chats.jsonl", rows=20)
    (tmp_path / "alpaca.json").write_text(json.dumps([{"instruction": "a", "output": "b", "text": "a b"}]))
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *files: str, **options: str) -> list[str]:
    settings: dict[str, Any] = dict.fromkeys(
        ("domain", "instructions", "domain_dataset", "instruction_dataset", "model"), ""
    )
    plan_command(files, **{**settings, **options})
    return capsys.readouterr().out.splitlines()


def commands(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("make ") or (" export " in line and not line.startswith("note"))]


def refused(*files: str, **options: str) -> str:
    settings: dict[str, Any] = dict.fromkeys(
        ("domain", "instructions", "domain_dataset", "instruction_dataset", "model"), ""
    )
    with pytest.raises(SweepError) as error:
        plan_command(files, **{**settings, **options})
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_two_stages_by_numbers(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    lines = told(capsys, domain="2,000,000", instructions="20_000")
    assert lines[:4] == [
        "given  2,000,000 domain rows, 20,000 instruction rows",
        "plan   pre-training, then SFT: large domain data, of more than 1,000,000 rows, and instructions (guide 4.3)",
        "  1. pt   adds the domain's knowledge by small steps (guide 4.1)",
        "  2. sft  teaches the format of the answers (guide 4.2)",
    ]
    assert commands(lines) == [
        "make sweep SPACE=pt_lora DATASET=TEXTS.jsonl STUDY=mine-pt",
        "make sweep SPACE=sft_lora FROM_STUDY=mine-pt DATASET=CHATS.jsonl STUDY=mine-sft",
        "python -m sweep export mine-sft",
    ]
    assert "note   TEXTS.jsonl stands for your own domain rows" in lines


def test_data_that_is_named_and_a_model(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    names = {"domain_dataset": "org/docs", "instruction_dataset": "chats.jsonl", "model": "org/model"}
    lines = told(capsys, domain="2000000", instructions="20000", **names)
    assert commands(lines)[:2] == [
        "make sweep SPACE=pt_lora MODEL=org/model DATASET=org/docs STUDY=docs-pt",
        "make sweep SPACE=sft_lora FROM_STUDY=docs-pt DATASET=chats.jsonl STUDY=docs-sft",
    ]
    assert "stands for" not in "\n".join(lines)


def test_files_are_counted_and_told_apart_by_their_form(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    lines = told(capsys, "chats.jsonl", "my docs")
    assert lines[0] == "given  3 domain rows (my docs), 20 instruction rows (chats.jsonl)"
    assert commands(lines) == [
        "make sweep SPACE=sft_lora DATASET=chats.jsonl STUDY=chats-sft",
        "python -m sweep export chats-sft",
    ]
    assert any(line.startswith("note   no stage is trained on the 3 domain rows") for line in lines)
    assert told(capsys, "alpaca.json")[0] == "given  0 domain rows, 1 instruction rows (alpaca.json)"


def test_domain_data_only(capsys: pytest.CaptureFixture[str], data: Path) -> None:
    assert commands(told(capsys, "my docs")) == [
        "make sweep SPACE=pt_lora DATASET='my docs' STUDY=my-docs-pt",
        "make sweep SPACE=sft_lora FROM_STUDY=my-docs-pt DATASET=tatsu-lab/alpaca STUDY=my-docs-sft",
        "python -m sweep export my-docs-sft",
    ]


def test_what_the_guide_leaves_open_has_both_ways_under_names_of_their_own(
    capsys: pytest.CaptureFixture[str], data: Path
) -> None:
    lines = told(capsys, "chats.jsonl", domain="50000", domain_dataset="chats.csv")
    assert lines[1].startswith("plan   the guide leaves open (4.3) what suits domain data between 10,000 and 1,000,000")
    assert commands(lines) == [
        "make sweep SPACE=sft_lora DATASET=chats.jsonl STUDY=chats-sft-alone",
        "python -m sweep export chats-sft-alone",
        "make sweep SPACE=pt_lora DATASET=chats.csv STUDY=chats-pt",
        "make sweep SPACE=sft_lora FROM_STUDY=chats-pt DATASET=chats.jsonl STUDY=chats-sft",
        "python -m sweep export chats-sft",
    ]


def test_what_is_refused(data: Path) -> None:
    for number in ("-3", "many", "1.5", "²"):
        wanted = f"--domain is {number!r}; allowed: a whole number of rows of at least 0 (a file is given without"
        assert refused(domain=number).startswith(wanted)
    assert refused("nowhere.jsonl").startswith("no file or folder 'nowhere.jsonl' to count rows in")
    assert refused("").startswith("no file or folder ''")
    assert refused("org/hub").startswith("no file or folder 'org/hub'")
    assert refused("my docs", domain="7").startswith("my docs holds domain rows, of which there are 7 already")
    assert refused("chats.jsonl", "alpaca.json").startswith(
        "alpaca.json holds instruction rows, of which there are chats.jsonl already"
    )
    assert refused(domain_dataset="docs.jsonl").startswith("docs.jsonl is given without a number of rows")
    assert refused().startswith("no rows, so no stage")


def test_as_a_command_it_loads_no_torch_and_ends_with_2(data: Path) -> None:
    code = (
        "import sys, sweep.cli; sys.argv[1:] = ['plan', *sys.argv[1:]]\n"
        "try: sweep.cli.main()\nexcept SystemExit as end: print(end.code, 'torch' in sys.modules)"
    )
    endings = []
    for argument in ("chats.jsonl", "nowhere.jsonl"):
        done = subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True, check=True)
        endings.append(done.stdout.splitlines()[-1])
    assert endings == ["0 False", "2 False"]
    assert done.stderr.startswith("sweep: no file or folder 'nowhere.jsonl'")
    assert len(done.stderr.splitlines()) == 1
