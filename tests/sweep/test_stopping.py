"""What ends a sweep before its total."""

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from sweep.errors import SweepError
from sweep.stopping import MOST_FAILURES_IN_A_ROW, MOST_UNTRAINED_IN_A_ROW, FailureWatch
from sweep.study import INFEASIBLE


def watched(*states: TrialState, reason: str | None = "no luck") -> FailureWatch:
    """What has seen trials end like this, one after the other."""
    study, watch = optuna.create_study(), FailureWatch()
    for state in states:
        told = {"reason": reason} if reason else {}
        study.add_trial(create_trial(state=state, value=2.0 if state == COMPLETE else None, user_attrs=told))
        watch(study, study.trials[-1])
    return watch


COMPLETE, PRUNED, FAIL = TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL


def test_a_sweep_that_has_only_begun_is_not_hopeless() -> None:
    watch = watched()
    assert not watch.hopeless()
    watch.raise_if_hopeless()


def test_it_is_after_so_many_failures_one_after_the_other() -> None:
    assert [watched(*[FAIL] * count).hopeless() for count in range(5)] == [
        count >= MOST_FAILURES_IN_A_ROW for count in range(5)
    ]


@pytest.mark.parametrize("state", [COMPLETE, PRUNED])
def test_a_trial_that_did_not_fail_gives_hope(state: TrialState) -> None:
    assert not watched(FAIL, FAIL, state, FAIL, FAIL).hopeless()
    assert not watched(FAIL, FAIL, FAIL, state).hopeless()
    assert watched(FAIL, state, FAIL, FAIL, FAIL).hopeless()


def test_a_hopeless_one_ends_with_the_trials_and_the_last_ones_reason() -> None:
    with pytest.raises(SweepError) as raised:
        watched(COMPLETE, FAIL, FAIL, FAIL).raise_if_hopeless()
    first, *each, last = str(raised.value).splitlines()
    assert first == "trials 1, 2, 3 failed one after the other"
    assert each == [f"  trial {number}  unknown: no luck" for number in (1, 2, 3)]
    assert last.startswith("What finished is recorded.")


def test_a_failure_without_a_reason_says_so() -> None:
    with pytest.raises(SweepError, match="trial 2  unknown: no reason was recorded"):
        watched(FAIL, FAIL, FAIL, reason=None).raise_if_hopeless()


def untrained(watch: FailureWatch, study: optuna.Study, count: int) -> None:
    for _ in range(count):
        told = {INFEASIBLE: "not trained: breaks the constraint big"}
        study.add_trial(create_trial(state=PRUNED, value=None, user_attrs=told))
        watch(study, study.trials[-1])


def test_a_space_of_which_nothing_can_be_trained_ends_its_search() -> None:
    study, watch = optuna.create_study(), FailureWatch()
    untrained(watch, study, MOST_UNTRAINED_IN_A_ROW - 1)
    assert not watch.hopeless()
    untrained(watch, study, 1)
    assert watch.hopeless()
    with pytest.raises(SweepError, match=f"^{MOST_UNTRAINED_IN_A_ROW} settings .* were not trained: breaks"):
        watch.raise_if_hopeless()


def test_what_could_not_be_trained_is_neither_a_failure_nor_hope() -> None:
    watch = watched(FAIL, FAIL)
    study = optuna.create_study()
    untrained(watch, study, 5)
    assert not watch.hopeless()
    study.add_trial(create_trial(state=FAIL))
    watch(study, study.trials[-1])
    assert watch.hopeless()
