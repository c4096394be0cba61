"""A study of a table: Optuna's trials, our own rows, what it says of itself, and what it is not good for."""

import json
import threading
import urllib.request
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from sweep.commands import export_command, import_command, list_command, show_command
from sweep.errors import SweepError
from sweep.importing import distribution, import_table, study_name
from sweep.results import Results
from sweep.run_table import read_table
from sweep.serve import make_dashboard
from sweep.storage import open_storage
from sweep.study import IDENTITY, Identity, check_identity, load_study, stored_identity
from sweep.sweep_storage import SweepStorage
from tests.sweep.fakes import make_plan

GRID = Path(__file__).parents[1] / "data" / "lora_lr_rank_grid.csv"
MODEL = "model=Qwen/Qwen3-8B"


def imported(storage: SweepStorage, name: str = "grid") -> optuna.Study:
    return import_table(storage, name, read_table(GRID, where=[MODEL]))


def said(storage: SweepStorage, capsys: pytest.CaptureFixture[str], command: Any, *arguments: Any) -> str:
    command(*arguments, storage.url)
    return capsys.readouterr().out


def test_every_run_is_a_complete_trial_with_its_settings(storage: SweepStorage) -> None:
    trials = imported(storage).get_trials()
    assert len(trials) == 19
    assert {trial.state for trial in trials} == {optuna.trial.TrialState.COMPLETE}
    assert trials[0].params == {"learning_rate": 4e-5, "lora_rank": 4}
    assert trials[0].value == 0.5606
    assert trials[0].user_attrs["imported"].startswith("lora_lr_rank_grid.csv, line ")
    assert trials[0].user_attrs["train_nll"]
    assert trials[0].distributions == {
        "learning_rate": FloatDistribution(4e-5, 1e-3, log=True),
        "lora_rank": IntDistribution(4, 128, log=True),
    }


def test_our_own_table_has_them_too(storage: SweepStorage) -> None:
    imported(storage)
    rows = Results(storage.engine, "grid").trials()
    assert [row["value"] for row in rows][:3] == [0.5606, 0.5606, 0.5525]
    assert rows[0]["lora_rank"] == 4
    assert rows[0]["learning_rate"] == 4e-5
    assert rows[0]["params"] == {"learning_rate": 4e-5, "lora_rank": 4}
    assert (rows[0]["state"], rows[0]["lora_alpha"], rows[0]["config"]) == ("complete", None, None)


def test_alpha_and_batch_follow_from_what_a_table_tells(storage: SweepStorage, tmp_path: Path) -> None:
    file = tmp_path / "runs.csv"
    file.write_text(
        "lora_rank,alpha_ratio,per_device_train_batch_size,gradient_accumulation_steps,loss\n8,2,4,2,1.5\n",
        encoding="utf8",
    )
    import_table(storage, "grid", read_table(file))
    (row,) = Results(storage.engine, "grid").trials()
    assert (row["lora_alpha"], row["effective_batch_size"]) == (16, 8)


def test_the_identity_says_that_it_was_imported(storage: SweepStorage) -> None:
    identity = imported(storage).user_attrs[IDENTITY]
    assert identity["imported"] == {
        "file": "lora_lr_rank_grid.csv",
        "value": "test_nll",
        "where": {"model": "Qwen/Qwen3-8B"},
        "rows": 19,
    }


def test_no_run_goes_on_with_it(storage: SweepStorage) -> None:
    imported(storage)
    plan = make_plan()
    now = Identity.of(plan.space, plan.budget, plan.seed)
    with pytest.raises(SweepError, match=r"imported from lora_lr_rank_grid\.csv"):
        check_identity("grid", stored_identity(storage, "grid")[1], now)


def test_it_has_nothing_to_export(storage: SweepStorage, tmp_path: Path) -> None:
    imported(storage)
    with pytest.raises(SweepError, match="no adapter to export"):
        export_command("grid", str(storage.url), None, None, tmp_path)


def test_list_and_show_have_it(storage: SweepStorage, capsys: pytest.CaptureFixture[str]) -> None:
    imported(storage)
    listed = said(storage, capsys, list_command)
    assert listed.startswith("grid   19 finished, best 0.537   imported, Qwen/Qwen3-8B, lora_lr_rank_grid.csv")
    shown = said(storage, capsys, show_command, "grid").splitlines()
    assert shown[1].split()[:7] == ["1", "18", "0.5374", "128:-", "-", "1.0e-3", "-"]
    best = shown.index("Best of 19: learning_rate 0.001, lora_rank 128: evaluation loss 0.5374.")
    ranks = shown[best + 1 :]
    assert [line.split(" against rank ")[0] for line in ranks] == ["  rank 16", "  rank 64", "  rank 128"]


def test_the_dashboard_shows_it(storage: SweepStorage, tmp_path: Path) -> None:
    imported(storage)
    with make_dashboard(storage, "127.0.0.1", 0, tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/api/studies/1?after=0") as answer:
                study = json.loads(answer.read())
        finally:
            server.shutdown()
            thread.join()
    assert study["name"] == "grid"
    assert [trial["state"] for trial in study["trials"]] == ["Complete"] * 19


def test_a_name_is_used_once(storage: SweepStorage) -> None:
    imported(storage)
    with pytest.raises(SweepError, match="there is a study named 'grid' already"):
        imported(storage)
    assert len(load_study(storage, "grid").get_trials()) == 19


def test_an_import_that_fails_leaves_no_study(storage: SweepStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Results, "add_imported", fail)
    with pytest.raises(OSError, match="disk full"):
        imported(storage)
    assert optuna.get_all_study_names(storage) == []


def test_the_command_says_how_columns_were_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = str(tmp_path / "new" / "sweep.db")
    import_command(GRID, "", database, "", [MODEL], [])
    output = capsys.readouterr().out
    assert "study lora_lr_rank_grid-Qwen3-8B in" in output
    assert "loss    test_nll" in output
    assert "knobs   learning_rate, lora_rank" in output
    assert "noted   train_nll, minutes" in output
    assert optuna.get_all_study_names(open_storage(database, create=False)) == ["lora_lr_rank_grid-Qwen3-8B"]


def test_a_study_is_called_by_its_file_and_what_was_taken() -> None:
    assert study_name(read_table(GRID, where=[MODEL])) == "lora_lr_rank_grid-Qwen3-8B"
    assert study_name(read_table(GRID, extra=["model"])) == "lora_lr_rank_grid"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([8, 16, 8], IntDistribution(8, 16)),
        ([4, 64], IntDistribution(4, 64, log=True)),
        ([1e-4, 1e-3], FloatDistribution(1e-4, 1e-3, log=True)),
        ([0.0, 0.1], FloatDistribution(0.0, 0.1)),
        ([2.5, 2.5], FloatDistribution(2.5, 2.5)),
        (["qv", "all", "qv"], CategoricalDistribution(["all", "qv"])),
    ],
)
def test_a_range_is_as_near_as_a_table_tells(values: Any, expected: Any) -> None:
    assert distribution(values) == expected
