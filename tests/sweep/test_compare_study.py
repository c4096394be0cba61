"""A comparison of a study: what is read of the database, and what is said, to people and to programs."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from sweep.commands import compare_command
from sweep.compare import compare
from sweep.compare_study import HEADING, ended_trials, plain, words
from sweep.errors import SweepError
from sweep.importing import identity, import_table
from sweep.observations import Observation
from sweep.results import Results
from sweep.run_table import read_table
from sweep.study import IDENTITY
from sweep.sweep_storage import SweepStorage
from tests.sweep.fakes import FakeSweep, curve

GRID = Path(__file__).parents[1] / "data" / "lora_lr_rank_grid.csv"


def runs() -> list[Observation]:
    losses = {8: (2.0, 2.1, 2.2), 16: (1.9, 2.0, 2.1), 32: (2.0,)}
    return [
        Observation(10 * rank + place, {"lora_rank": rank, "learning_rate": (1e-4, 3e-4, 1e-3)[place]}, loss)
        for rank, inside in losses.items()
        for place, loss in enumerate(inside)
    ]


def test_a_studys_trials_come_with_what_its_space_searched(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, curve(3.0, 2.5, 2.2, 2.1, 2.0), curve(3.5, 3.4, 3.39, 3.39, 3.39))
    sweep.play()
    rows, space = sweep.results.trials(), sweep.study.user_attrs[IDENTITY]["space"]["resolved"]
    first, second = ended_trials(sweep.results.curves(), rows, space, start=4.0)
    assert first.knobs.keys() == {"learning_rate", "lora_rank", "alpha_ratio"}
    assert (first.losses, first.value, first.start, first.pruned) == ([3.0, 2.5, 2.2, 2.1, 2.0], 2.0, 4.0, False)
    # A pruned trial's progress is that of the whole run too: cosine over ten steps, evaluated after every second.
    rates = [1 + math.cos(math.pi * step / 10) for step in range(10)]
    assert first.progress == pytest.approx([sum(rates[:step]) / sum(rates) for step in (2, 4, 6, 8, 10)])
    assert second.progress == first.progress
    assert second.pruned
    assert second.losses == [3.5, 3.4, 3.39]
    assert second.value == 3.39


def test_a_failed_trial_is_no_observation(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, curve(3.0, 2.0))
    sweep.play()
    (row,) = sweep.results.trials()
    assert (
        ended_trials(sweep.results.curves(), [{**row, "state": "failed"}, {**row, "state": "running"}], {"search": {}})
        == []
    )


def test_a_run_that_was_made_elsewhere_has_no_curve(storage: SweepStorage) -> None:
    table = read_table(GRID, where=["model=Qwen/Qwen3-8B"])
    import_table(storage, "grid", table)
    results = Results(storage.engine, "grid")
    found = ended_trials(results.curves(), results.trials(), identity(table)["space"]["resolved"])
    assert len(found) == len(table.losses)
    assert all((trial.losses, trial.progress, trial.start) == ([], [], None) for trial in found)


def test_the_words_are_a_table_and_notes() -> None:
    lines = words(compare(runs(), "lora_rank"), "demo")
    assert lines[0] == "demo by lora_rank, against 8; held fixed: learning_rate"
    assert lines[2].split() == " ".join(HEADING).split()
    assert lines[3].split() == ["8", "3", "0", "2.0000", "1.0e-4", "2.1000", "-", "reference"]
    assert lines[4].endswith("-0.1000 [-0.1000, -0.1000]  better (3 pairs)")
    assert lines[5].endswith("+0.0000 [?, ?]              no verdict (1 pair)")
    assert "no verdict below 3 pairs" in lines


def test_the_json_holds_the_same() -> None:
    told: dict[str, Any] = json.loads(json.dumps(plain(compare(runs(), "lora_rank"), "demo"), allow_nan=False))
    assert (told["study"], told["by"], told["reference"], told["method"]) == ("demo", ["lora_rank"], "8", "paired")
    first, second, third = told["levels"]
    assert first["effect"] is None
    assert second["verdict"] == "better"
    assert second["effect"]["difference"] == pytest.approx(-0.1)
    assert second["effect"]["basis"] == 3
    assert third["effect"] == {"difference": 0.0, "low": None, "high": None, "basis": 1}


def test_the_command_compares_an_imported_study(storage: SweepStorage, capsys: pytest.CaptureFixture[str]) -> None:
    import_table(storage, "grid", read_table(GRID, where=["model=Qwen/Qwen3-8B"]))
    compare_command("grid", str(storage.url), "learning_rate", "", [], as_json=False)
    assert "better (4 pairs)" in capsys.readouterr().out
    compare_command("grid", str(storage.url), "lora_rank", "4", ["learning_rate=1e-3"], as_json=True)
    assert json.loads(capsys.readouterr().out)["levels"][0]["verdict"] == "reference"


def test_a_study_of_another_program_is_refused(storage: SweepStorage, study: Any) -> None:
    with pytest.raises(SweepError, match="not made by this program"):
        compare_command("demo", str(storage.url), "x", "", [], as_json=False)
