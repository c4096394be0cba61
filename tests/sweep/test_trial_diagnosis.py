"""Every trial that ends gets its diagnosis: in our table, in Optuna, in the dashboard's note, over the study."""

import json
import math
from pathlib import Path

import pytest
import sqlalchemy

from sweep.commands import show_command
from sweep.errors import TrialFailed
from sweep.objective import DIAGNOSIS
from sweep.results import Results, metadata
from sweep.storage import open_storage
from sweep.study import IDENTITY
from sweep.sweep_storage import SweepStorage
from sweep.trial_diagnosis import diagnose_trial, diagnosis_words, logged_curve, note_lines
from sweep.trial_files import TrainerLog
from tests.sweep.fakes import FakeSweep, curve, make_space, moved
from trials.config import TrialConfig
from trials.curve import LearningCurve
from trials.diagnosis import diagnose
from trials.failure import FailureClass
from trials.finding import Diagnosis, Finding
from trials.logged import LoggedCurve
from trials.report import Report

PLATEAU = (4.1, 3.6, 3.5, 3.47, *[3.46] * 8)
FALLING = curve(3.0, 2.7, 2.5, 2.4, 2.375)
# Evaluation loss comes back up while training loss goes on falling; each rise but the last stays within one noise.
OVER_FITTING = curve(
    *(3.0, 2.5, 2.3, 2.35, 2.3, 2.45, 2.4, 2.6, 2.55, 2.8),
    train_losses=(3.0, 2.5, 2.2, 2.0, 1.8, 1.6, 1.4, 1.2, 1.0, 0.8),
    total=10,
)


def diagnose_reports(reports: list[Report], usual_rate: float | None = None) -> Diagnosis | None:
    """What a trial's evaluations show without a log, at a learning rate of 1e-3."""
    return diagnose_trial(LearningCurve(reports), TrialConfig(learning_rate=1e-3), usual_rate, LoggedCurve.of(reports))


def found(kind: str) -> dict[str, object]:
    return {"findings": [{"kind": kind}]}


class TestOneTrial:
    def test_a_healthy_trial_is_said_to_be_that(self, tmp_path: Path) -> None:
        sweep = FakeSweep(tmp_path, FALLING)
        sweep.play()
        assert sweep.trial().user_attrs[DIAGNOSIS] == "healthy"
        assert sweep.note().endswith("Diagnosis: **healthy**: training loss 3 → 2.38, evaluation loss 3 → 2.38.")
        assert [one["findings"][0]["kind"] for one in sweep.results.diagnoses().values()] == ["healthy"]

    def test_over_fitting_comes_with_its_remedy_in_the_trials_own_numbers(self, tmp_path: Path) -> None:
        sweep = FakeSweep(tmp_path, OVER_FITTING)
        sweep.play()
        (finding,) = sweep.results.diagnoses()[0]["findings"]
        assert finding["kind"] == sweep.trial().user_attrs[DIAGNOSIS] == "over-fitting"
        alpha = sweep.row()["lora_alpha"]
        assert {"setting": "lora_alpha", "before": alpha, "after": alpha / 2, "words": "half"} in finding["remedy"]
        assert f"To try: lora_alpha {alpha:g} → {alpha / 2:g}" in sweep.note()

    def test_a_trial_that_ends_early_is_not_judged(self, tmp_path: Path) -> None:
        sweep = FakeSweep(tmp_path, curve(3.0, 3.5))
        sweep.play()
        assert sweep.trial().user_attrs[DIAGNOSIS] == "too short to tell"

    def test_a_trial_that_was_stopped_for_divergence_is_said_to_diverge_however_short(self, tmp_path: Path) -> None:
        sweep = FakeSweep(tmp_path, curve(3.0, 5.0))
        sweep.play()
        assert sweep.row()["state"] == "pruned"
        assert sweep.trial().user_attrs[DIAGNOSIS] == "divergence"
        (finding,) = sweep.results.diagnoses()[0]["findings"]
        assert finding["evidence"] == "evaluation loss 5.000 at step 4 is more than 1 above the first, 3.000"
        assert (finding["start_step"], finding["guide"]) == (4, "1.2, 2.1")
        assert finding["remedy"][0]["setting"] == "learning_rate"
        assert finding["remedy"][0]["after"] == pytest.approx(finding["remedy"][0]["before"] / 5, rel=0.01)

    def test_a_trial_that_was_stopped_for_a_rise_is_said_to_over_fit(self) -> None:
        rising = curve(3.0, 2.5, 2.51, 2.53, 2.56, train_losses=(3.0, 2.5, 2.3, 2.2, 2.1), total=30)
        diagnosis = diagnose_reports(rising)
        assert diagnosis is not None
        assert diagnosis.kinds == ("over-fitting",)
        assert (diagnosis.findings[0].start, diagnosis.findings[0].rule) == (4, "1.2, 2.3")
        assert diagnosis.findings[0].remedy[0].setting == "lora_alpha"

    def test_what_is_usual_for_its_model_is_what_a_remedy_may_raise_a_rate_to(self) -> None:
        falling = curve(*(3.0 - 0.02 * n for n in range(12)), total=12)
        raised = []
        for usual in (None, 2e-4, 1e-3):
            diagnosis = diagnose_reports(falling, usual)
            assert diagnosis is not None
            assert diagnosis.kinds == ("under-fitting",)
            raised.append(any(change.setting == "learning_rate" for change in diagnosis.findings[0].remedy))
        assert raised == [False, False, True]

    def test_a_diverged_trial_is_told_in_strict_json(self, tmp_path: Path) -> None:
        sweep = FakeSweep(tmp_path, curve(3.0, 2.8, 2.9, 2.8, math.nan))
        sweep.play()
        (diagnosis,) = sweep.results.diagnoses().values()
        assert "divergence" in [finding["kind"] for finding in diagnosis["findings"]]
        json.dumps(diagnosis, allow_nan=False)

    def test_where_its_steps_were_logged_they_tell_what_its_evaluations_do_not(self, tmp_path: Path) -> None:
        steps = [moved(step, train_loss=4.0 - step / 10) for step in range(1, 11)]
        sweep = FakeSweep(tmp_path, FALLING, [*steps, *FALLING], [*steps[:2], *FALLING])
        sweep.play()
        told = [sweep.trial(number).user_attrs[DIAGNOSIS] for number in range(3)]
        assert told == ["healthy", "under-fitting", "healthy"], "a log that lacks steps is not taken"

    def test_a_log_with_fewer_steps_than_evaluations_is_not_taken(self, tmp_path: Path) -> None:
        reports = LearningCurve(FALLING)
        log = TrainerLog(tmp_path, FALLING, next_step=1)
        for step in range(1, 5):
            log.add_step(moved(step), 1.0)
        assert len(logged_curve(tmp_path, reports).training) == len(FALLING)
        for step in range(5, 8):
            log.add_step(moved(step), 1.0)
        assert len(logged_curve(tmp_path, reports).training) == 7

    def test_what_the_whole_curve_shows_goes_before_what_it_was_stopped_for(self) -> None:
        rising = curve(
            *(3.0, 2.5, 2.3, 2.4, 2.5, 2.6, 2.7, 2.8, 2.9),
            train_losses=(3.0, 2.5, 2.2, 2.0, 1.8, 1.6, 1.4, 1.2, 1.0),
            total=9,
        )
        assert LearningCurve(rising).sustained_rise() is not None
        diagnosis = diagnose_reports(rising)
        assert diagnosis is not None
        assert diagnosis.findings[0].evidence.startswith("from step 6 of 18: evaluation loss rises 2.3")

    def test_a_trial_without_a_report_has_none(self, tmp_path: Path) -> None:
        sweep = FakeSweep(tmp_path, [TrialFailed("no memory", "", FailureClass.MEMORY)])
        sweep.play()
        assert DIAGNOSIS not in sweep.trial().user_attrs
        assert sweep.results.diagnoses() == {}
        assert "Diagnosis" not in sweep.note()

    def test_no_loss_is_too_high_by_itself(self) -> None:
        high = curve(*PLATEAU, total=len(PLATEAU))
        diagnosis = diagnose_reports(high)
        assert diagnosis is not None
        assert diagnosis.kinds == ("healthy",)
        assert diagnose(LoggedCurve.of(high)).kinds != ("healthy",), "a stranger's log with such a plateau is not"


def test_a_trial_that_ends_again_has_one_diagnosis(tmp_path: Path) -> None:
    sweep = FakeSweep(tmp_path, FALLING)
    sweep.play()
    worse = diagnose_reports(OVER_FITTING)
    assert worse is not None
    sweep.results.diagnosed(0, worse)
    assert [one["findings"][0]["kind"] for one in sweep.results.diagnoses().values()] == ["over-fitting"]


def test_the_gravest_finding_is_the_kind_that_sql_sees_and_studies_do_not_mix(storage: SweepStorage) -> None:
    first, second = (Results(storage.engine, name) for name in ("first", "second"))
    first.diagnosed(3, Diagnosis((Finding("oscillation", "swings"), Finding("over-fitting", "rises"))))
    second.diagnosed(4, Diagnosis((Finding("healthy", "falls"),)))
    with storage.engine.connect() as connection:
        rows = connection.execute(sqlalchemy.text("select study_name, kind from sweep_diagnoses order by 1")).all()
    assert [tuple(row) for row in rows] == [("first", "oscillation"), ("second", "healthy")]
    assert (list(first.diagnoses()), list(second.diagnoses())) == ([3], [4])


def test_show_counts_what_the_curves_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = FakeSweep(tmp_path, FALLING)
    sweep.play()
    sweep.study.set_user_attr(IDENTITY, {"space": {"resolved": make_space().to_dict()}})
    show_command("demo", str(sweep.results._engine.url))
    assert "curves" in (said := capsys.readouterr().out)
    assert "1 healthy" in said


def test_a_database_from_before_gets_the_table(tmp_path: Path, storage: SweepStorage) -> None:
    with storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("drop table sweep_diagnoses"))
    again = open_storage(str(storage.engine.url), create=False)
    assert set(metadata.tables) <= set(sqlalchemy.inspect(again.engine).get_table_names())


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ([], ""),
        (["too short to tell", "healthy", "healthy"], "2 healthy, 1 too short to tell"),
        (["over-fitting", "healthy"], "1 healthy, 1 over-fitting (trial 0)"),
        (["over-fitting", "divergence"], "1 divergence (trial 1), 1 over-fitting (trial 0)"),
        (["stagnation"] * 4, "4 stagnation (trials 0, 1, 2, …)"),
    ],
)
def test_a_study_says_how_many_trials_show_what(kinds: list[str], said: str) -> None:
    assert diagnosis_words({number: found(kind) for number, kind in enumerate(kinds)}) == said


def test_what_is_only_suspected_is_noted_with_a_question_mark() -> None:
    suspected = Diagnosis((Finding("over-fitting", "training loss steps down at epochs", "1.2", suspected=True),))
    assert note_lines(suspected) == [
        "",
        "Diagnosis: **over-fitting**?: training loss steps down at epochs (guide 1.2).",
    ]
