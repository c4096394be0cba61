"""`sweep diagnose`: its words, its JSON, its pictures, and what it refuses."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweep.cli import app
from sweep.errors import SweepError
from sweep.trial_files import write_config
from tests.trials.logs import Record, healthy, line, lines, state
from trials.config import TrialConfig

PNG = b"\x89PNG\r\n\x1a\n"


def rising() -> list[Record]:
    """An over-fitted run of 300 steps whose evaluation loss turns at 100."""
    evaluations = [line(s, eval_loss=round(1.2 + abs(s - 100) * 0.002, 4)) for s in range(50, 301, 50)]
    training = [line(s, round(2 - s / 200, 4)) for s in range(10, 301, 10)]
    return sorted([*training, *evaluations], key=lambda record: int(record["current_steps"]))


def run(*arguments: str | Path) -> str:
    """What the command prints; it ends well."""
    result = CliRunner().invoke(app, ["diagnose", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_sick_run_in_words_beside_its_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(tmp_path / "trainer_log.jsonl", rising())
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 8, "lora_alpha": 32}))
    monkeypatch.chdir(tmp_path)
    said = run("trainer_log.jsonl").splitlines()
    assert said[0] == (
        "over-fitting   from step 100 of 300: evaluation loss rises 1.2 → 1.6 (+33.3%) while training loss falls "
        "1.48 → 0.55 (guide 1.2, 2.3)"
    )
    assert said[1] == (
        "  try          lora_alpha 32 → 16, num_train_epochs: fewer, early stopping on evaluation loss; keep the "
        "adapter of step 100"
    )
    assert said[2].startswith("oscillation    no   ")
    assert said[3] == "picture        trainer_log.png"
    assert (tmp_path / "trainer_log.png").read_bytes().startswith(PNG)


def test_what_is_no_log_does_not_stop_the_others(tmp_path: Path) -> None:
    pointer = tmp_path / "a" / "trainer_state.json"
    pointer.parent.mkdir()
    pointer.write_text("version https://git-lfs.github.com/spec/v1\n")
    log = lines(tmp_path / "b" / "trainer_log.jsonl", healthy())
    said = run(pointer, log, "--no-picture").splitlines()
    assert said[0] == f"{pointer}   a Git LFS pointer: the log itself was not downloaded (git lfs pull)"
    assert said[2] == f"{log}   30 training losses, 300 steps"
    assert said[3].startswith("healthy        training loss 2.")
    assert list(tmp_path.rglob("*.png")) == []


def test_a_folder_and_several_runs_in_a_file(tmp_path: Path) -> None:
    lines(tmp_path / "x" / "trainer_log.jsonl", [*healthy(), *healthy(200)])
    said = run(tmp_path, "--to", tmp_path / "pictures")
    assert "trainer_log.jsonl, run 1 of 2   30 training losses" in said
    assert "trainer_log.jsonl, run 2 of 2   20 training losses" in said
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert names == ["trainer_log-run1.png", "trainer_log-run2.png"]


def test_json_is_strict_and_has_every_file(tmp_path: Path) -> None:
    sick = lines(tmp_path / "trainer_log.jsonl", [*rising(), line(300, float("nan"))])
    other = tmp_path / "trainer_state.json"
    other.write_text("{}")
    first, second = json.loads(run(sick, other, "--json", "--no-picture"), parse_constant=pytest.fail)
    assert first["file"] == str(sick)
    assert first["training_losses"] == 30
    assert first["evaluations"] == {"": 6}
    assert [finding["kind"] for finding in first["findings"]] == ["over-fitting"]
    assert first["picture"] is None
    assert "no records" in second["not_a_log"]


class TestATrialsOwnLog:
    """A plateau of a small model, which is too high for a stranger's, beside the settings that a trial leaves."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        losses = [4.1, 3.6, 3.5, 3.47, *[3.46] * 10]
        lines(tmp_path / "trainer_log.jsonl", [line(10 * i, loss) for i, loss in enumerate(losses, start=1)])
        return tmp_path

    def test_its_plateau_is_not_too_high(self, folder: Path) -> None:
        write_config(folder, TrialConfig().to_dict(), {})
        assert run(folder, "--no-picture").startswith("healthy")

    def test_its_settings_scale_the_remedy(self, folder: Path) -> None:
        lines(folder / "trainer_log.jsonl", rising())
        write_config(folder, TrialConfig(lora_rank=8, lora_alpha=24).to_dict(), {})
        assert "lora_alpha 24 → 12" in run(folder, "--no-picture")

    @pytest.mark.parametrize("text", ["", "[]", "{", '{"config": 1}', '{"config": {"lora_rank": "x"}}', "{}"])
    def test_another_programs_settings_are_not_a_trials(self, folder: Path, text: str) -> None:
        (folder / "config.json").write_text(text)
        assert "less than 3" in run(folder, "--no-picture")


def test_a_picture_of_another_program_or_log_is_never_overwritten(tmp_path: Path) -> None:
    log = lines(tmp_path / "trainer_log.jsonl", healthy())
    strange = tmp_path / "trainer_log.png"
    strange.write_bytes(b"somebody's")
    assert "trainer_log-2.png" in run(log)
    assert strange.read_bytes() == b"somebody's"
    before = sorted(tmp_path.iterdir())
    assert "trainer_log-2.png" in run(log)  # its own picture is drawn anew
    assert sorted(tmp_path.iterdir()) == before
    twin = lines(tmp_path / "b" / "trainer_log.jsonl", healthy())
    run(log, twin, "--to", tmp_path / "to")
    run(twin, log, "--to", tmp_path / "to")
    assert sorted(path.name for path in (tmp_path / "to").iterdir()) == ["trainer_log-2.png", "trainer_log.png"]


def test_a_picture_that_cannot_be_written_is_said_and_no_error(tmp_path: Path) -> None:
    log = lines(tmp_path / "trainer_log.jsonl", healthy())
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    said = run(log, "--to", in_the_way)
    assert "picture        not drawn: " in said
    assert "healthy" in said


@pytest.mark.parametrize("name", ["none.jsonl", "empty.jsonl", "blank.jsonl", "bomb.json", "folder"])
def test_user_errors_are_one_line(name: str, tmp_path: Path) -> None:
    for file, text in {"empty.jsonl": "", "blank.jsonl": "\n \n\t\n", "bomb.json": "[" * 100_000}.items():
        (tmp_path / file).write_text(text)
    (tmp_path / "folder").mkdir()
    result = CliRunner().invoke(app, ["diagnose", str(tmp_path / name)])
    assert isinstance(result.exception, SweepError)
    assert "\n" not in str(result.exception)


def test_a_folder_of_one_runs_checkpoints_is_told_once(tmp_path: Path) -> None:
    for step in (100, 300, 200):
        history = [{"step": r["current_steps"], "loss": r["loss"], "learning_rate": r["lr"]} for r in healthy(step)]
        state(tmp_path / f"checkpoint-{step}" / "trainer_state.json", history)
    (one,) = json.loads(run(tmp_path, "--json", "--no-picture"))
    assert (one["file"], one["last_step"]) == (str(tmp_path / "checkpoint-300" / "trainer_state.json"), 300)


def test_marks_in_names_are_shown_as_they_are(tmp_path: Path) -> None:
    log = lines(tmp_path / "[red]$x$" / "trainer_log.jsonl", [*healthy(), line(300, **{"eval_[b]_loss": 1.0})])
    said = run(log, log, "--to", tmp_path / "to")
    assert "[red]$x$" in said
    assert "1 evaluations of [b]" in said
