"""`sweep diagnose STUDY/7`: a study's trials by name, with and without their logs."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweep.cli import app
from sweep.errors import SweepError, TrialFailed
from sweep.trial_files import LOG
from tests.sweep.fakes import FakeSweep, curve, moved
from tests.trials.logs import healthy, lines
from trials.failure import FailureClass

FALLING = (3.0, 2.7, 2.5, 2.4, 2.375)


@pytest.fixture
def sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSweep:
    """A study of a healthy trial, one that diverged, and one that failed before its first evaluation."""
    steps = [moved(step, train_loss=2.4 + 0.6**step) for step in range(1, 11)]
    made = FakeSweep(
        tmp_path, [*steps, *curve(*FALLING)], curve(3.0, 5.0), [TrialFailed("no memory", "", FailureClass.MEMORY)]
    )
    made.play()
    monkeypatch.chdir(tmp_path)
    return made


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["diagnose", "--storage", "sweep.db", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def error(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["diagnose", "--storage", "sweep.db", *arguments])
    assert isinstance(result.exception, SweepError)
    return str(result.exception)


def test_a_trial_by_name_is_read_from_its_log(sweep: FakeSweep) -> None:
    (said,) = json.loads(run("demo/0", "--json", "--no-picture"))
    assert (said["trial"], said["training_losses"], said["evaluations"]) == ("demo/0", 10, {"": 5})
    assert said["file"].endswith(LOG)
    assert run("demo/0").splitlines()[-1].endswith("runs/demo/trials/00000/trainer_log.png")


def test_a_trial_whose_log_is_elsewhere_is_read_from_the_database(sweep: FakeSweep, tmp_path: Path) -> None:
    (said,) = json.loads(run("demo/0", "--json", "--no-picture", "--output", "nowhere"))
    assert said["training_losses"] == 5
    assert "not drawn: the trial's folder is not on this machine (--to FOLDER" in run("demo/0", "--output", "nowhere")
    assert not (tmp_path / "nowhere").exists()
    assert run("demo/0", "--output", "nowhere", "--to", "here").splitlines()[-1].endswith("here/trainer_log.png")


def test_a_log_of_several_runs_is_not_this_programs(sweep: FakeSweep) -> None:
    lines(sweep.folder() / LOG, [*healthy(), *healthy(200)])
    (said,) = json.loads(run("demo/0", "--json", "--no-picture"))
    assert said["training_losses"] == 5


def test_a_study_is_all_its_trials_that_were_evaluated(sweep: FakeSweep) -> None:
    said = json.loads(run("demo", "--json", "--no-picture"))
    assert [(one["trial"], one["findings"][0]["kind"]) for one in said] == [
        ("demo/0", "healthy"),
        ("demo/1", "divergence"),
    ]


def test_what_a_trial_was_stopped_for_is_said_by_name_too(sweep: FakeSweep) -> None:
    assert run("demo/1", "--no-picture").startswith(
        "divergence     evaluation loss 5.000 at step 4 is more than 1 above"
    )


def test_a_file_of_the_name_goes_first(sweep: FakeSweep, tmp_path: Path) -> None:
    lines(tmp_path / "demo" / "0" / "trainer_log.jsonl", healthy())
    (said,) = json.loads(run("demo/0", "--json", "--no-picture"))
    assert said["training_losses"] == 30
    assert "trial" not in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("demo/7", "study 'demo' has no trial 7; there are 0 to 2"),
        ("demo/2", "trial 2 of study 'demo' has no evaluation yet: there is nothing to diagnose"),
        ("demos/2", "no study named 'demos'. Did you mean demo?"),
        ("demo/x", "no study named 'demo/x'"),
    ],
)
def test_a_name_that_is_nothing_is_said(sweep: FakeSweep, name: str, said: str) -> None:
    text = error(name)
    assert text.startswith(f"{name} is no file or folder; allowed: a trainer_log.jsonl")
    assert f"(as a study: {said}" in text
    assert text.count("\n") == 1


def test_a_log_that_is_missing_is_not_looked_for_in_a_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert error("trainer_log.jsonl").startswith("trainer_log.jsonl does not exist; allowed: ")
    assert error(str(tmp_path / "folder")).endswith("or a study's trial like sft_lora/7")
