"""Names that are paths, SQL, markup or escapes of a terminal, through the real commands: shown as text, and no more."""

import csv
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from sweep.names import LONGEST
from tests.end_to_end.driver import Driver
from tests.end_to_end.inside import call

# Each would do something if it were taken for what it looks like.
NASTY = (
    "../../escaped",
    "/etc/passwd",
    "x'; drop table sweep_trials; --",
    "[red]x[/red] [link=www.evil.example]y[/link]",
    "<img src=x onerror=alert(1)> **bold** [a](www.evil.example)",
    "$x^$ \\frac %s {0} %(x)s",
    "$(touch pwned) `touch pwned` ; touch pwned",
    "yes: [no, {a: !!python/object:b}] # &c *d",
    "'single\" double",
)
ESCAPES = ("\x1b]0;title\x07", "\x1b[31mred", "two\nlines", "back\rspace", "\x9b31m", "\u202ebidi", "\udcff")
# What may stand in no output but for the ends of its lines.
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]")


def _harmless(driver: Driver, before: set[str], output: str) -> None:
    assert not CONTROL.search(output), output
    assert "Traceback" not in output
    assert not list(driver.folder.rglob("pwned"))
    assert {path.name for path in driver.folder.iterdir()} <= before | {"runs", "exports"}
    assert not [path for path in driver.folder.parent.iterdir() if path.name == "escaped"]


@pytest.fixture(scope="module")
def swept(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with a study whose name, space, model and data set are nasty, and the sweep's arguments."""
    folder = tmp_path_factory.mktemp("nasty")
    model = folder / "m'$(touch pwned) [red]m <b> $x^$ : # \x1b[31m\n- x"
    shutil.copytree(tiny / "model", model)
    data = folder / "d`touch pwned`\"' [bold] {a: b} \x1b[2J\n# y.jsonl"
    shutil.copy(tiny / "chats.jsonl", data)
    space = folder / "s [link=evil]$(touch pwned)\x07\nz.yaml"
    space.write_text("extends: sft_lora\ndescription: '[red]d[/red]'\n", encoding="utf8")
    return folder, ["--model", str(model), "--dataset", str(data), "--space", str(space)]


@pytest.mark.slow
def test_a_whole_study_of_nasty_names(driver: Driver, swept: tuple[Path, list[str]]) -> None:
    folder, places = swept
    driver.folder = folder
    before, study = {path.name for path in folder.iterdir()}, " ".join(NASTY)
    told = ""
    for arguments in (
        driver.sweep_arguments(*places, "--study", study, "--n-trials", "2", "--max-steps", "4", "--pruner", "none"),
        ["show", study],
        ["list"],
        ["space", places[-1]],
        ["diagnose", study, "--no-picture"],
        ["export", study],
        ["export", study, "--format", "trl", "--to", "exports/trl"],
        ["export", study, "--format", "axolotl", "--to", "exports/axolotl"],
    ):
        status, output = driver.run(*arguments)
        assert status == 0, output
        _harmless(driver, before, output)
        told += output
    assert study in told
    # The commands that were printed name the study and nothing else.
    for line in re.findall(r"python -m sweep (?:show|export) .*", told):
        assert shlex.split(line)[4] == study
    assert driver.query("select count(*) from sweep_trials") == [(2,)]
    for note in driver.query("select value_json from trial_system_attributes where key like '%note%'"):
        assert "<img" not in note[0]
    _check_exports(folder, study, places)


def _check_exports(folder: Path, study: str, places: list[str]) -> None:
    (own,) = [path for path in (folder / "exports").iterdir() if path.name not in ("trl", "axolotl")]
    assert re.fullmatch(r"[A-Za-z0-9._-]+", own.name)
    text = (own / "train.yaml").read_text(encoding="utf8")
    training = yaml.safe_load(text)
    assert training["model_name_or_path"] == places[1]
    assert all(re.match(r"#|$|[a-z0-9_]+: ", line) for line in text.splitlines()), text
    described = json.loads((own / "data" / "dataset_info.json").read_text(encoding="utf8"))
    assert [entry["file_name"] for entry in described.values()] == [places[3]]
    assert list(described) == [training["dataset"]]
    assert yaml.safe_load((folder / "exports/axolotl/axolotl.yaml").read_text("utf8"))["base_model"] == places[1]
    script = (folder / "exports/trl/train_trl.py").read_text(encoding="utf8")
    compile(script, "train_trl.py", "exec")
    assert not [line for line in script.splitlines() if CONTROL.search(line)]


@pytest.mark.parametrize("name", [*ESCAPES, " ", "-rf", "--help", "x" * (LONGEST + 1)])
def test_a_study_cannot_have_a_name_that_cannot_be_seen_or_typed(
    name: str, driver: Driver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = driver.sweep_arguments(f"--study={name}", "--gpus", "cpu")
    status, output = call(driver.folder, monkeypatch, capfd, *arguments)
    assert (status, output.count("\n")) == (2, 1), output
    assert output.startswith("sweep: the study's name")
    assert not CONTROL.search(output)
    assert not (driver.folder / "runs").exists()


@pytest.mark.parametrize("name", [*NASTY, *ESCAPES])
def test_names_of_nothing_are_harmless_in_errors(
    name: str, driver: Driver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for arguments in (
        ["diagnose", name],
        ["run", "--space", name],
        ["space", name],
        ["show", name],
        ["list", "--storage", name],
        ["import", name],
        ["plan", name],
        ["plan", "--domain", name],
        ["export", "x", "--format", name],
        ["run", "--space", "sft_lora", "--set", name],
        ["run", "--space", "sft_lora", "--gpus", name],
        ["run", "--space", "sft_lora", "--gpus", "cpu", "--design", "factorial", "--over", name],
    ):
        status, output = call(driver.folder, monkeypatch, capfd, *arguments)
        assert status == 2, output
        _harmless(driver, set(), output)
        assert output.count("\n") <= 2, output


def test_a_table_of_nasty_cells(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    table = driver.folder / "t [red]$(touch pwned).csv"
    ways = ("[red]a[/red]\x1b[31m\nb", "$x^$", "'; drop table studies; --")
    with table.open("w", encoding="utf8", newline="") as file:
        csv.writer(file).writerows(
            [["lora_rank", "way\x1b[1m[b]", "loss"], *([8 * (n % 2 + 1), ways[n % 3], 2 + n / 10] for n in range(12))]
        )
    before = {table.name, "curves"}
    for arguments in (
        ["import", str(table), "--knob", "way\x1b[1m[b]", "--study", "t [red]"],
        ["show", "t [red]"],
        ["compare", "t [red]", "--by", "way\x1b[1m[b]"],
        ["compare", "t [red]", "--by", "lora_rank"],
        ["list"],
    ):
        status, output = call(driver.folder, monkeypatch, capfd, *arguments)
        assert status == 0, output
        _harmless(driver, before, output)
    status, output = call(driver.folder, monkeypatch, capfd, "import", str(table), "--study", "two\nlines")
    assert (status, output.count("\n")) == (2, 1), output
