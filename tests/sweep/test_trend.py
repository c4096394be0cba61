"""When a trial is given up, and when it is not, whatever its heading."""

import math
import random

import pytest

from sweep.contenders import Contender, others
from sweep.projection import TIE
from sweep.trend import CERTAINTY, LEAST_REPORTS, decisive, hopeless, lowest, reason_to_prune
from tests.sweep.contending import HORIZON, headed, of_curve

BEST = headed(3, 2.38, complete=True)
BEHIND = headed(7, 2.61, 0.04, running=True)


# --- behind


def test_a_trial_that_is_clearly_behind_is_told_by_how_much_and_whom() -> None:
    assert reason_to_prune(BEHIND, [BEST]) == "projected 2.610 ± 0.040, and trial 3 reached 2.380"


def test_the_best_rival_decides() -> None:
    rivals = [headed(1, 2.60, complete=True), BEST, headed(2, 2.5)]
    told = reason_to_prune(BEHIND, rivals)
    assert told is not None
    assert told.endswith("trial 3 reached 2.380")


@pytest.mark.parametrize("error", [0.04, 0.4])
def test_it_takes_so_many_deviations(error: float) -> None:
    for factor, given_up in ((0.99, False), (1.01, True)):
        mine = headed(7, 2.38 + factor * CERTAINTY * error, error, running=True)
        assert (hopeless(mine, [BEST]) is not None) == given_up


def test_a_tie_is_not_told_apart_however_sure_it_is() -> None:
    for factor, given_up in ((0.9, False), (1.1, True)):
        mine = headed(7, 2.38 + factor * TIE, 0.0, running=True)
        assert (hopeless(mine, [BEST]) is not None) == given_up


def test_of_what_is_not_known_nothing_is_given_up() -> None:
    assert hopeless(headed(7, 50.0, math.inf, running=True), [BEST]) is None


@pytest.mark.parametrize("state", ["running", "parked"])
def test_an_unfinished_rival_counts_by_what_it_has_reached_and_not_by_what_it_promises(state: str) -> None:
    promises = headed(3, 1.0, 0.01, reached=2.6, **{state: True})
    assert reason_to_prune(BEHIND, [promises]) is None
    reaches = headed(3, 1.0, 0.01, reached=2.4, **{state: True})
    assert reason_to_prune(BEHIND, [reaches]) == "projected 2.610 ± 0.040, and trial 3 reached 2.400"


def test_a_pruned_rival_counts_by_what_it_reached() -> None:
    assert reason_to_prune(BEHIND, [headed(4, 2.3), BEST]) == "projected 2.610 ± 0.040, and trial 4 reached 2.300"


def test_losses_that_were_turned_are_told_as_they_were_reported() -> None:
    assert reason_to_prune(BEHIND, [BEST], -1.0) == "projected -2.610 ± 0.040, and trial 3 reached -2.380"


# --- the last hope


@pytest.mark.parametrize("rivals", [[], [headed(3, 2.38)], [headed(3, 2.38), headed(4, 1.0)]])
def test_the_last_hope_is_never_given_up(rivals: list[Contender]) -> None:
    """What was pruned will not be complete, however low it came."""
    assert reason_to_prune(BEHIND, rivals) is None


@pytest.mark.parametrize("state", ["running", "parked", "complete"])
def test_nor_is_the_leader_of_those_that_may_win(state: str) -> None:
    for loss, given_up in ((2.7, False), (2.6, True)):
        rivals = [headed(3, 2.38), headed(4, loss, 0.5, **{state: True})]
        assert (reason_to_prune(BEHIND, rivals) is not None) == given_up


@pytest.mark.parametrize("state", ["running", "parked"])
def test_a_diverged_trial_is_no_hope_and_no_rival(state: str) -> None:
    diverged = of_curve(4, [2.1, math.nan], **{state: True})
    assert reason_to_prune(BEHIND, [headed(3, 2.38), diverged]) is None
    assert reason_to_prune(BEHIND, [BEST, diverged]) == reason_to_prune(BEHIND, [BEST])


def test_what_a_diverged_trial_reached_before_counts_for_nothing() -> None:
    assert reason_to_prune(headed(7, 2.39, 0.0, running=True), [BEST, of_curve(4, [2.1, math.nan])]) is not None
    assert reason_to_prune(headed(7, 2.381, 0.0, running=True), [BEST, of_curve(4, [2.1, math.nan])]) is None


# --- when it is too early, or too late


@pytest.mark.parametrize(("reports", "goes_on"), [(1, True), (4, True), (5, False)])
def test_nothing_is_pruned_in_warm_up(reports: int, goes_on: bool) -> None:
    mine = headed(7, 2.61, 0.04, reports=reports, warmup=4, running=True)
    assert (reason_to_prune(mine, [BEST]) is None) == goes_on


def test_without_the_loss_before_training_it_takes_some_reports() -> None:
    for reports in range(1, HORIZON):
        mine = of_curve(7, [50.0] * reports, running=True)
        assert (reason_to_prune(mine, [BEST]) is None) == (reports < LEAST_REPORTS)


def test_with_it_one_report_may_be_enough() -> None:
    assert reason_to_prune(of_curve(7, [50.0], start=50.01, running=True), [BEST]) is not None


def test_at_its_end_a_trial_is_not_pruned() -> None:
    assert reason_to_prune(of_curve(7, [50.0] * HORIZON, start=51.0, running=True), [BEST]) is None
    assert reason_to_prune(of_curve(7, [50.0] * (HORIZON - 1), start=51.0, running=True), [BEST]) is not None


# --- divergence


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("before", [0, 1, HORIZON - 1])
def test_divergence_prunes_at_once_whoever_is_there(loss: float, before: int) -> None:
    """In warm-up, at the end, without a rival."""
    mine = of_curve(7, [2.5] * before + [loss], warmup=5, running=True)
    assert reason_to_prune(mine, []) == f"diverged: reported {loss}"


def test_a_divergence_is_told_as_it_was_reported() -> None:
    assert reason_to_prune(of_curve(7, [math.inf], running=True), [], -1.0) == "diverged: reported -inf"


def test_the_lowest_is_where_the_best_is_heading() -> None:
    assert lowest([BEST, BEHIND]) == 2.38
    assert lowest([]) == math.inf


@pytest.mark.parametrize("seed", range(40))
def test_the_decisive_few_give_the_verdict_of_all(seed: int) -> None:
    chance = random.Random(seed)
    states = ("running", "parked", "complete", "pruned")
    trials = []
    for number in range(12):
        state = chance.choice(states)
        known = {state: True} if state != "pruned" else {}
        trials.append(headed(number, chance.uniform(2.0, 2.4), chance.choice((0.0, 0.05, 0.3)), **known))
    few = decisive(trials)
    for mine in trials:
        if mine.unfinished:
            assert hopeless(mine, others(few, mine.number)) == hopeless(mine, others(trials, mine.number))
