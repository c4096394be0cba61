"""Remedies that become trials: which, when, with what record; and whether they helped."""

from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.advice import ADVICE, Advice, advice_of
from sweep.advice_words import MOST_TOLD, advice_words
from sweep.advisor import ONE_IN, find_advice, make_advisor
from sweep.contenders import HORIZON
from sweep.recovery import OWNER
from sweep.searching import Search
from tests.sweep.fakes import FakeSweep, curve, make_space
from trials.finding import Change, Diagnosis, Finding

SPACE = make_space("""
stage: sft
fixed: {lora_target: qv, effective_batch_size: 8}
search:
  learning_rate: {float: [1e-4, 1e-2], log: true}
  lora_rank: {choice: [8, 16]}
""")
KNOBS = {
    "learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    "lora_rank": CategoricalDistribution([8, 16]),
}


def trial(number: int, rate: float, value: float | None = 3.0, **changes: Any) -> FrozenTrial:
    params = {"learning_rate": rate, "lora_rank": changes.pop("lora_rank", 8)}
    made = create_trial(value=value, params=params, distributions=dict(KNOBS), **changes)
    made.number = number
    return made


def waiting(number: int, rate: float) -> FrozenTrial:
    params = {"learning_rate": rate, "lora_rank": 8}
    made = create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": params})
    made.number = number
    return made


def sick(kind: str, *changes: tuple[str, Any, Any]) -> dict[str, Any]:
    remedy = tuple(Change(setting, "", before, after) for setting, before, after in changes)
    return Diagnosis((Finding(kind, "", remedy=remedy),)).to_dict()


GENTLER = sick("divergence", ("learning_rate", 1e-2, 2e-3), ("lora_rank", 8, 16))
ADVISED = {ADVICE: {"parent": 0, "kind": "divergence", "knob": "learning_rate", "before": 1e-2, "after": 2e-3}}
ADVICE_0 = Advice(0, "divergence", "learning_rate", 1e-2, 2e-3)


class TestWhichRemedy:
    def test_the_first_change_of_a_sick_trials_remedy(self) -> None:
        assert find_advice([trial(0, 1e-2)], {0: GENTLER}, SPACE) == (
            ADVICE_0,
            {"learning_rate": 2e-3, "lora_rank": 8},
        )

    def test_none_without_a_remedy_or_a_diagnosis(self) -> None:
        healthy = Diagnosis((Finding("healthy", ""),)).to_dict()
        assert find_advice([trial(0, 1e-2)], {0: healthy}, SPACE) is None
        assert find_advice([trial(0, 1e-2)], {}, SPACE) is None

    @pytest.mark.parametrize("other", [trial(1, 1.9e-3), waiting(1, 2e-3)], ids=["run", "waiting"])
    def test_what_was_tried_gives_way_to_the_next_change(self, other: FrozenTrial) -> None:
        found = find_advice([trial(0, 1e-2), other], {0: GENTLER}, SPACE)
        assert found is not None
        assert found[1] == {"learning_rate": 1e-2, "lora_rank": 16}

    def test_a_state_is_answered_once(self) -> None:
        child = trial(1, 2e-3, user_attrs=ADVISED)
        assert find_advice([trial(0, 1e-2), child], {0: GENTLER}, SPACE) is None
        both = {"findings": GENTLER["findings"] + sick("over-fitting", ("lora_rank", 8, 16))["findings"]}
        found = find_advice([trial(0, 1e-2), child], {0: both}, SPACE)
        assert found is not None
        assert (found[0].kind, found[0].knob) == ("over-fitting", "lora_rank")

    def test_the_best_sick_trial_comes_first_and_one_without_a_loss_last(self) -> None:
        lost = trial(0, 1e-2, None, state=TrialState.PRUNED)
        trials = [lost, trial(1, 5e-3, 3.2), trial(2, 6e-3, 3.1), trial(3, 1e-3, 3.0)]
        remedies = {
            n: sick("oscillation", ("learning_rate", t.params["learning_rate"], 3e-4))
            for n, t in enumerate(trials)
            if n < 3
        }
        order = []
        while (found := find_advice(trials, remedies, SPACE)) is not None:
            order.append(found[0].parent)
            del remedies[found[0].parent]
        assert order == [2, 1, 0]

    def test_a_pruned_trial_counts_by_where_it_was_heading(self) -> None:
        steep = {1: 4.0, 2: 3.4, 3: 3.05}
        pruned = trial(0, 1e-2, None, state=TrialState.PRUNED, intermediate_values=steep, user_attrs={HORIZON: 8})
        found = find_advice([trial(1, 9e-3, 3.0), pruned], {0: GENTLER, 1: GENTLER}, SPACE)
        assert found is not None
        assert found[0].parent == 0

    @pytest.mark.parametrize("state", [TrialState.RUNNING, TrialState.FAIL])
    def test_a_trial_that_has_not_finished_has_no_child(self, state: TrialState) -> None:
        assert find_advice([trial(0, 1e-2, None, state=state)], {0: GENTLER}, SPACE) is None


LOST = curve(3.0, 9.0, 9.5, 9.9)


class TestInASearch:
    def advised(self, tmp_path: Path, *plays: Any) -> FakeSweep:
        sweep = FakeSweep(tmp_path, *plays, space=SPACE)
        sweep.study.enqueue_trial({"learning_rate": 1e-2, "lora_rank": 8})
        return sweep

    def run(self, sweep: FakeSweep, n_trials: int) -> None:
        Search(sweep.session, sweep.study, [make_advisor(sweep.session)]).run(n_trials)

    def test_a_remedy_becomes_a_trial_with_its_parent_and_is_told(self, tmp_path: Path) -> None:
        sweep = self.advised(tmp_path, LOST, curve(3.0, 2.7), curve(3.0, 2.6))
        self.run(sweep, 3)
        children = [(t.number, advice_of(t)) for t in sweep.study.trials if ADVICE in t.user_attrs]
        assert children == [(2, ADVICE_0)]
        assert sweep.trial(2).params == {"learning_rate": 2e-3, "lora_rank": 8}
        assert sweep.trial(2).user_attrs[OWNER]
        assert "trial 0 shows divergence: a trial will try learning_rate 0.01 → 2e-3" in sweep.said.getvalue()
        assert r"Advised: learning\_rate 0.01 → 2e-3, for trial 0's divergence." in sweep.note(2)
        assert "Advised" not in sweep.note(1)

    def test_at_most_one_trial_in_three_tries_a_remedy(self, tmp_path: Path) -> None:
        sweep = self.advised(tmp_path, *[LOST] * 9)
        self.run(sweep, 9)
        given = [trial.number for trial in sweep.study.trials[:9] if ADVICE in trial.user_attrs]
        assert given
        assert all(ONE_IN * (place + 1) <= number + 1 for place, number in enumerate(given))

    def test_nothing_waits_in_a_study_that_has_its_total(self, tmp_path: Path) -> None:
        sweep = self.advised(tmp_path, LOST, LOST, LOST)
        sweep.session.total = 2
        self.run(sweep, 2)
        assert len(sweep.study.trials) == 2
        sweep.session.total = 3
        make_advisor(sweep.session)(sweep.study, None)
        assert [trial.state for trial in sweep.study.trials][2:] == [TrialState.WAITING]

    def test_an_earlier_sessions_trials_are_looked_at(self, tmp_path: Path) -> None:
        sweep = self.advised(tmp_path, LOST, curve(3.0, 2.7))
        sweep.play()
        make_advisor(sweep.session)(sweep.study, None)
        assert sweep.study.trials[-1].system_attrs["fixed_params"] == {"learning_rate": 2e-3, "lora_rank": 8}


class TestWhetherItHelped:
    def test_nothing_is_said_without_remedies(self) -> None:
        assert advice_words([trial(0, 1e-2)]) == ""

    @pytest.mark.parametrize(
        ("before", "after", "said"),
        [
            (3.2, 3.0, "3.200 → 3.000, helped"),
            (3.0, 3.2, "3.000 → 3.200, did not help"),
            (3.0, 3.0, "3.000 → 3.000, did not help"),
        ],
    )
    def test_a_lower_loss_than_the_parents_helped(self, before: float, after: float, said: str) -> None:
        words = advice_words([trial(0, 1e-2, before), trial(1, 2e-3, after, user_attrs=ADVISED)]).splitlines()
        helped = int(after < before)
        assert words == [
            f"{helped} of 1 remedies helped: {helped} of 1 for divergence",
            f"trial 1 from 0 (divergence), learning_rate 0.01 → 2e-3: {said}",
        ]

    def test_a_parent_that_was_lost_is_worse_than_any_loss(self) -> None:
        lost = trial(0, 1e-2, None, state=TrialState.PRUNED)
        assert advice_words([lost, trial(1, 2e-3, user_attrs=ADVISED)]).endswith("no loss → 3.000, helped")
        again = trial(1, 2e-3, None, state=TrialState.PRUNED, user_attrs=ADVISED)
        assert advice_words([lost, again]).endswith("no loss → heading for no loss, did not help")

    def test_a_pruned_child_counts_by_where_it_was_heading(self) -> None:
        values = {1: 4.0, 2: 3.4, 3: 3.05}
        child = trial(
            1, 2e-3, None, state=TrialState.PRUNED, intermediate_values=values, user_attrs={HORIZON: 8, **ADVISED}
        )
        assert "heading for 2." in advice_words([trial(0, 1e-2, 3.0), child])

    @pytest.mark.parametrize(
        ("state", "said"), [(TrialState.FAIL, "failed"), (TrialState.RUNNING, "not finished")], ids=str
    )
    def test_a_child_that_has_not_finished_is_not_counted(self, state: TrialState, said: str) -> None:
        child = trial(1, 2e-3, None, state=state, user_attrs=ADVISED)
        words = advice_words([trial(0, 1e-2), child]).splitlines()
        assert words[0] == "no remedy has been tried yet"
        assert words[1].endswith(f": {said}")

    def test_rates_are_told_by_state_and_the_newest_one_by_one(self) -> None:
        other = {ADVICE: ADVISED[ADVICE] | {"kind": "over-fitting"}}
        trials = [trial(0, 1e-2, 3.0)]
        trials += [trial(n, 2e-3, 2.0 + n, user_attrs=other if n == 3 else ADVISED) for n in range(1, MOST_TOLD + 2)]
        words = advice_words(trials).splitlines()
        assert (
            words[0]
            == f"0 of {MOST_TOLD + 1} remedies helped: 0 of {MOST_TOLD} for divergence, 0 of 1 for over-fitting"
        )
        assert words[1] == f"the newest {MOST_TOLD} of {MOST_TOLD + 1}:"
        assert [line.split()[1] for line in words[2:]] == [str(n) for n in range(2, MOST_TOLD + 2)]


def test_a_value_that_is_no_number_is_told_as_it_is() -> None:
    assert Advice(0, "stagnation", "lr_scheduler_type", "constant", "cosine").words() == (
        "lr_scheduler_type constant → cosine"
    )


def test_numbers_are_told_in_three_digits() -> None:
    assert Advice(0, "divergence", "learning_rate", 0.0305335, 6.1e-3).words() == "learning_rate 0.0305 → 6.1e-3"
    assert Advice(0, "over-fitting", "num_train_epochs", 20, 2).words() == "num_train_epochs 20 → 2"
