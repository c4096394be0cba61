"""Our own tables: what is written is read again, once, and by its own study."""

import math
from dataclasses import astuple, replace
from typing import Any

import pytest
import sqlalchemy

from sweep.results import Results, target_name
from sweep.sweep_storage import SweepStorage
from tests.sweep.fakes import curve, report
from trials.config import TrialConfig

CONFIG = TrialConfig(lora_rank=16, lora_alpha=32, per_device_train_batch_size=2, gradient_accumulation_steps=4)
NASTY = ["it's", 'a "b"', "x'; DROP TABLE sweep_trials; --", "100%_", "ä\n日本", ""]


@pytest.fixture
def results(storage: SweepStorage) -> Results:
    return Results(storage.engine, "demo")


def start(results: Results, number: int = 0, **params: Any) -> None:
    results.start_trial(number, CONFIG, params, f"demo/trials/{number:05d}", 10)


def end(results: Results, number: int, state: str, steps: int) -> None:
    """A trial of 8 rows a step that ended after so many of its 10 steps."""
    start(results, number)
    results.add_report(number, replace(report(1, 2.5), step=steps))
    results.end_trial(number, state, value=2.5)


def test_a_trial_that_starts_is_running_with_its_settings(results: Results) -> None:
    start(results, lora_target="qv", alpha_ratio=2)
    (row,) = results.trials()
    assert (row["state"], row["value"], row["ended"]) == ("running", None, None)
    assert (row["lora_rank"], row["lora_alpha"], row["lora_target"], row["effective_batch_size"]) == (16, 32, "qv", 8)
    assert row["params"] == {"lora_target": "qv", "alpha_ratio": 2}
    assert TrialConfig.from_dict(row["config"]) == CONFIG


def test_a_trial_that_ends_says_how_and_why(results: Results) -> None:
    start(results)
    results.end_trial(0, "pruned", value=2.25, reason="would not win", trainable_parameters=2**33)
    (row,) = results.trials()
    assert (row["state"], row["value"], row["reason"]) == ("pruned", 2.25, "would not win")
    assert row["trainable_parameters"] == 2**33
    assert row["ended"] >= row["started"]


def test_a_trial_that_is_continued_runs_again_and_keeps_its_beginning(results: Results) -> None:
    start(results)
    (before,) = results.trials()
    results.end_trial(0, "interrupted", reason="saved")
    start(results)
    (row,) = results.trials()
    assert (row["state"], row["started"]) == ("running", before["started"])


def test_trials_come_in_the_order_of_their_numbers(results: Results) -> None:
    for number in (2, 0, 1):
        start(results, number)
    assert [row["trial_number"] for row in results.trials()] == [0, 1, 2]


def test_a_curve_is_read_as_it_was_reported(results: Results) -> None:
    reports = curve(3.0, 2.5, 2.25)
    for one in reversed(reports):
        results.add_report(0, one)
    assert results.curve(0).reports == reports


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_losses_that_are_no_numbers_survive(results: Results, loss: float) -> None:
    one = replace(report(1, loss), grad_norm=loss)
    results.add_report(0, one)
    assert str(results.curve(0).reports) == str([one])
    assert results.curve(0).divergence() is not None


def test_a_report_that_comes_again_is_one_row_and_the_first_one_counts(results: Results) -> None:
    results.add_report(0, report(1, 2.5))
    results.add_report(0, report(1, 9.0))
    assert results.curve(0).eval_losses == [2.5]


def test_large_counts_are_not_cut(results: Results) -> None:
    one = replace(report(1, 2.5), tokens=2**40, peak_memory_bytes=2**41)
    results.add_report(0, one)
    assert astuple(results.curve(0).reports[0]) == astuple(one)


def test_a_trial_without_reports_has_an_empty_curve(results: Results) -> None:
    assert results.curve(7).reports == []


def test_two_studies_in_one_database_do_not_mix(storage: SweepStorage, results: Results) -> None:
    other = Results(storage.engine, "other")
    start(results)
    results.add_report(0, report(1, 2.5))
    start(other)
    other.end_trial(0, "complete", value=1.0)
    assert (results.trials()[0]["state"], other.curve(0).reports) == ("running", [])
    assert other.rows_spent_and_saved() == (0, 0)


@pytest.mark.parametrize("name", NASTY)
def test_a_study_may_have_any_name(storage: SweepStorage, name: str) -> None:
    results, other = Results(storage.engine, name), Results(storage.engine, "demo")
    end(other, 0, "complete", 10)
    end(results, 0, "pruned", 4)
    assert [row["state"] for row in results.trials()] == ["pruned"]
    assert [row["state"] for row in other.trials()] == ["complete"]
    assert results.rows_spent_and_saved() == (32, 48)


def test_reasons_and_targets_may_hold_anything(results: Results) -> None:
    start(results, lora_target="'; DROP TABLE sweep_reports; --")
    results.end_trial(0, "failed", reason="'quoted' \"twice\" 100 % \\ \n日本")
    (row,) = results.trials()
    assert row["lora_target"] == "'; DROP TABLE sweep_reports; --"
    assert row["reason"] == "'quoted' \"twice\" 100 % \\ \n日本"
    assert results.curve(0).reports == []


def test_pruning_saves_the_rows_of_the_steps_that_were_not_taken(results: Results) -> None:
    end(results, 0, "complete", 10)
    end(results, 1, "pruned", 4)
    assert results.rows_spent_and_saved() == (80 + 32, 48)


def test_a_trial_that_stops_early_by_itself_saves_nothing(results: Results) -> None:
    end(results, 0, "complete", 6)
    assert results.rows_spent_and_saved() == (48, 0)


@pytest.mark.parametrize("state", ["failed", "interrupted", "running"])
def test_trials_that_count_for_nothing_cost_nothing(results: Results, state: str) -> None:
    end(results, 0, state, 6)
    assert results.rows_spent_and_saved() == (0, 0)


def test_the_tables_can_be_read_with_plain_sql(storage: SweepStorage, results: Results) -> None:
    end(results, 0, "complete", 10)
    query = (
        "SELECT r.eval_loss FROM sweep_reports r JOIN sweep_trials t USING (study_name, trial_number) "
        "WHERE t.study_name = 'demo' AND t.state = 'complete'"
    )
    with storage.engine.connect() as connection:
        assert connection.execute(sqlalchemy.text(query)).scalars().all() == [2.5]


@pytest.mark.parametrize(
    ("params", "name"),
    [({"lora_target": "all"}, "all"), ({"lora_target": ["a", "b"]}, "a,b"), ({}, "q_proj,v_proj")],
)
def test_a_target_is_called_as_the_space_does_else_by_its_modules(params: dict[str, Any], name: str) -> None:
    assert target_name(params, CONFIG) == name
