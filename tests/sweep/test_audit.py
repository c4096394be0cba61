"""Condemned trials that run on for the audit, and what is around a trial while a slot has it."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.audit import AUDITED, audit_words
from sweep.errors import TrialInterrupted
from sweep.objective import clean_up
from sweep.pruners import TrendPromotion
from sweep.searching import Search, parked_count, unpark
from tests.sweep.fakes import Event, FakeSweep, curve

START = 3.0
# By START, cosine and five evaluations: heads below all others from the first evaluation on.
LEADER = curve(2.6, 2.4, 2.3, 2.25, 2.24)
# Heads for 2.30 ± 0.27 at first: not for less than LEADER has reached, but perhaps; it comes to 2.20.
HOPEFUL = curve(2.621, 2.4, 2.28, 2.21, 2.2)
# Heads for 2.49 ± 0.19 at first: clearly behind LEADER it is not, but not likely to pass it either.
DOUBTFUL = curve(2.725, 2.5, 2.4, 2.36, 2.35)
# Heads for 2.91 ± 0.04.
HOPELESS = curve(2.95, 2.94, 2.93, 2.92, 2.92)


def sweep_of(tmp_path: Path, *plays: Sequence[Event], audit: float = 0.0) -> FakeSweep:
    sweep = FakeSweep(tmp_path, *plays)
    ready = dataclasses.replace(sweep.session.plan.ready, start_loss=START)
    sweep.session.plan = dataclasses.replace(sweep.session.plan, ready=ready)
    sweep.session.audit = audit
    sweep.study.pruner = TrendPromotion(5)
    return sweep


def search(sweep: FakeSweep, n_trials: int) -> None:
    Search(sweep.session, sweep.study, [clean_up(sweep.session)]).run(n_trials)


def states(sweep: FakeSweep) -> list[str]:
    return [trial.state.name for trial in sweep.study.get_trials()]


def test_optuna_does_not_hand_out_a_parked_trial(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, LEADER, HOPEFUL, [TrialInterrupted()])
    with pytest.raises(TrialInterrupted):
        search(sweep, 3)
    assert sweep.study.ask().number == 3
    unpark(sweep.study)
    assert parked_count(sweep.study) == 0
    assert sweep.study.ask().number == 1


def test_a_parked_trial_is_given_up_as_soon_as_another_is_clearly_ahead(tmp_path: Path) -> None:
    far_ahead = curve(2.0, 1.8, 1.7, 1.66, 1.65)
    sweep = sweep_of(tmp_path, LEADER, DOUBTFUL, far_ahead, HOPELESS)
    search(sweep, 4)
    assert states(sweep) == ["COMPLETE", "PRUNED", "COMPLETE", "PRUNED"]
    assert "projected 2.492 ± 0.188, and trial 2 reached 1.650" in sweep.row(1)["reason"]
    told = sweep.said.getvalue()
    assert told.index("trial 1  pruned") < told.index("trial 3  started")


def test_the_audit_lets_condemned_trials_run_to_their_ends(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, LEADER, DOUBTFUL, HOPELESS, DOUBTFUL, audit=1.0)
    search(sweep, 3)
    assert states(sweep) == ["COMPLETE", "COMPLETE", "COMPLETE"]
    assert sweep.trial(2).user_attrs[AUDITED]["place"] == "1 of 5"
    assert sweep.row(2)["reason"].startswith("audit: would have been pruned at 1 of 5: projected 2.908 ± 0.038")
    assert "not taken up again" in sweep.row(1)["reason"]
    told = audit_words(sweep.study.get_trials())
    assert told == "2 condemned trials ran to the end, none would have won: the nearest ended 0.110 above; " + (
        "false kills below 78%"
    )


def test_a_wrong_verdict_is_told(tmp_path: Path) -> None:
    late = curve(2.95, 2.94, 2.5, 2.2, 2.1)
    sweep = sweep_of(tmp_path, LEADER, late, audit=1.0)
    search(sweep, 2)
    told = audit_words(sweep.study.get_trials())
    assert told == "1 condemned trial ran to the end, 1 wrongly condemned (trial 1), by 0.140"


def test_condemned_trials_alone_are_compared_with_nothing() -> None:
    only = create_trial(
        state=TrialState.COMPLETE, value=2.0, user_attrs={AUDITED: {"place": "1 of 5", "reason": "far"}}
    )
    assert audit_words([only]) == "audited trials alone are complete (1): there is no other to compare with"


def test_without_an_audit_there_is_nothing_to_tell(tmp_path: Path) -> None:
    sweep = sweep_of(tmp_path, LEADER, HOPELESS)
    search(sweep, 2)
    assert audit_words(sweep.study.get_trials()) == ""


def test_a_running_trial_gives_signs_of_life(tmp_path: Path) -> None:
    def beats() -> int:
        with sweep.storage.engine.connect() as connection:
            return int(connection.execute(sqlalchemy.text("SELECT count(*) FROM trial_heartbeats")).scalar_one())

    found: list[int] = []

    def look() -> None:
        for _ in range(500):
            if beats():
                break
            time.sleep(0.01)
        found.append(beats())

    sweep = sweep_of(tmp_path, [*LEADER[:1], look, *LEADER[1:]])
    search(sweep, 1)
    assert found == [1]


def test_a_trial_at_its_end_is_not_stopped_any_more(tmp_path: Path) -> None:
    class AtTheLast(BasePruner):
        def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            return trial.last_step == 5

    sweep = sweep_of(tmp_path, LEADER)
    sweep.study.pruner = AtTheLast()
    search(sweep, 1)
    assert states(sweep) == ["COMPLETE"]
