"""Which trials go on, which are parked and taken up again, and which are given up."""

import math
from typing import Any

import pytest

from sweep.contenders import Contender, others
from sweep.promotion import HOPE, given_up, promoted, verdict
from sweep.trend import CERTAINTY
from tests.sweep.contending import HORIZON, headed, of_curve


def running(number: int, loss: float, error: float = 0.02, **more: Any) -> Contender:
    return headed(number, loss, error, running=True, **more)


def parked(number: int, loss: float, error: float = 0.02, **more: Any) -> Contender:
    return headed(number, loss, error, parked=True, **more)


def complete(number: int, loss: float) -> Contender:
    return headed(number, loss, complete=True)


def hopes(error: float, deviations: float) -> float:
    """Where a trial heads for that lacks so many deviations to a leader at 2."""
    return 2.0 + deviations * error


# Between going on and being given up.
BETWEEN = hopes(0.02, (HOPE + CERTAINTY) / 2)


class TestVerdict:
    """A running trial that has reported."""

    @pytest.mark.parametrize("more", [True, False])
    def test_the_leader_goes_on(self, more: bool) -> None:
        rivals = [running(1, 2.1), parked(2, 2.05), complete(3, 2.01)]
        assert verdict(running(0, 2.0), rivals, more=more).action == "go on"

    @pytest.mark.parametrize("more", [True, False])
    def test_of_equals_both_go_on(self, more: bool) -> None:
        assert verdict(running(0, 2.0), [running(1, 2.0)], more=more).action == "go on"

    @pytest.mark.parametrize("more", [True, False])
    def test_a_trial_alone_goes_on(self, more: bool) -> None:
        assert verdict(running(0, 9.0), [], more=more).action == "go on"
        assert verdict(running(0, 9.0), [headed(1, 2.0)], more=more).action == "go on", "the other one was pruned"

    @pytest.mark.parametrize("leader", [running(1, 2.0), parked(1, 2.0), complete(1, 2.0)])
    def test_with_trials_still_to_begin_only_the_leader_goes_on(self, leader: Contender) -> None:
        found = verdict(running(0, 2.001), [leader], more=True)
        assert (found.action, found.reason) == ("park", "heads for 2.001, the leader for 2.000")

    def test_without_those_that_may_still_lead_go_on(self) -> None:
        for deviations, action in ((0.99 * HOPE, "go on"), (1.01 * HOPE, "park")):
            assert verdict(running(0, hopes(0.1, deviations), 0.1), [running(1, 2.0)], more=False).action == action

    def test_they_wait_for_a_parked_one_that_heads_lower(self) -> None:
        mine, leader = running(0, 2.01), running(1, 2.0)
        assert verdict(mine, [leader, parked(2, 2.005)], more=False).action == "park"
        assert verdict(mine, [leader, parked(2, 2.011)], more=False).action == "go on"
        assert verdict(mine, [leader, running(2, 2.005)], more=False).action == "go on", "it has its own slot"

    def test_they_do_not_wait_for_one_that_may_not_lead_itself(self) -> None:
        sure_to_miss = parked(2, 2.03, 0.021)
        assert verdict(running(0, 2.04, 0.1), [running(1, 2.0), sure_to_miss], more=False).action == "go on"

    @pytest.mark.parametrize("more", [True, False])
    def test_between_waiting_and_giving_up_it_waits(self, more: bool) -> None:
        assert verdict(running(0, BETWEEN), [running(1, 2.0, 0.0)], more=more).action == "park"

    @pytest.mark.parametrize("more", [True, False])
    def test_what_is_clearly_behind_is_pruned_with_the_reason(self, more: bool) -> None:
        found = verdict(running(0, 2.61, 0.04), [complete(3, 2.38)], more=more)
        assert (found.action, found.reason) == ("prune", "projected 2.610 ± 0.040, and trial 3 reached 2.380")

    def test_in_warm_up_it_may_be_parked_but_is_not_pruned(self) -> None:
        mine = running(0, 9.0, reports=3, warmup=3)
        assert verdict(mine, [complete(1, 2.0)], more=True).action == "park"
        assert verdict(running(0, 9.0, reports=4, warmup=3), [complete(1, 2.0)], more=True).action == "prune"

    @pytest.mark.parametrize("more", [True, False])
    def test_divergence_prunes_at_once(self, more: bool) -> None:
        found = verdict(of_curve(0, [2.0, math.nan], warmup=4, running=True), [], more=more)
        assert (found.action, found.reason) == ("prune", "diverged: reported nan")

    def test_a_trial_of_which_nothing_is_known_goes_on(self) -> None:
        assert verdict(of_curve(0, [9.0], running=True), [complete(1, 2.0)], more=True).action == "go on"

    def test_a_trial_at_its_end_goes_on_to_be_complete(self) -> None:
        mine = of_curve(0, [9.0] * HORIZON, start=10.0, running=True)
        assert verdict(mine, [complete(1, 2.0)], more=True).action == "go on"

    def test_what_was_pruned_does_not_lead(self) -> None:
        assert verdict(running(0, 2.0), [headed(1, 1.99), running(2, 2.1)], more=True).action == "go on"

    def test_losses_that_were_turned_are_told_as_they_were_reported(self) -> None:
        found = verdict(running(0, 2.01), [running(1, 2.0)], more=True, sign=-1.0)
        assert (found.action, found.reason) == ("park", "heads for -2.010, the leader for -2.000")
        pruned = verdict(running(0, 2.61, 0.04), [complete(3, 2.38)], more=True, sign=-1.0)
        assert pruned.reason == "projected -2.610 ± 0.040, and trial 3 reached -2.380"


class TestPromoted:
    """A free slot looks for a parked trial."""

    def test_nothing_is_parked(self) -> None:
        assert promoted([], more=False) is None
        assert promoted([running(0, 2.0), complete(1, 2.1), headed(2, 2.2)], more=False) is None

    def test_the_one_that_heads_lowest_is_taken_up(self) -> None:
        found = [parked(0, 2.02), parked(1, 2.01), parked(2, 2.03), running(3, 2.005)]
        assert promoted(found, more=False) == 1

    def test_with_trials_still_to_begin_only_one_that_leads_is(self) -> None:
        assert promoted([parked(0, 1.999), running(1, 2.0)], more=True) == 0
        assert promoted([parked(0, 2.001), running(1, 2.0)], more=True) is None

    def test_one_that_may_lead_is_found_behind_one_that_may_not(self) -> None:
        sure_to_miss, unsure, leader = parked(0, BETWEEN), parked(1, BETWEEN + 0.01, 0.2), running(2, 2.0, 0.0)
        assert promoted([sure_to_miss, unsure, leader], more=False) == 1
        assert promoted([sure_to_miss, leader], more=False) is None

    def test_one_that_is_clearly_behind_is_not(self) -> None:
        assert promoted([parked(0, 2.3), complete(1, 2.0)], more=False) is None

    def test_nor_is_one_that_is_clearly_behind_a_pruned_one_while_another_leads(self) -> None:
        left = [parked(0, 2.51), running(1, 2.5), headed(2, 2.0)]
        assert promoted(left[:2], more=False) == 0
        assert promoted(left, more=False) is None

    def test_when_nothing_else_is_left_the_best_goes_on_however_bad(self) -> None:
        assert promoted([parked(0, 9.0), headed(1, 2.0)], more=False) == 0
        assert promoted([parked(0, 9.0), parked(1, 8.0), headed(2, 2.0)], more=False) == 1

    def test_a_diverged_one_is_not(self) -> None:
        assert promoted([of_curve(0, [2.0, math.nan], parked=True)], more=False) is None


class TestGivenUp:
    """Parked trials that will not be taken up again."""

    def test_only_what_is_clearly_behind_while_others_run(self) -> None:
        found = [parked(0, 2.61, 0.04), parked(1, 2.4, 0.04), running(2, 9.0), complete(3, 2.38)]
        assert given_up(found, over=False) == {0: "projected 2.610 ± 0.040, and trial 3 reached 2.380"}

    def test_all_of_them_when_the_study_is_over(self) -> None:
        found = [parked(0, 2.61, 0.04), parked(1, 2.4, 0.04), complete(3, 2.38)]
        assert given_up(found, over=True) == {
            0: "projected 2.610 ± 0.040, and trial 3 reached 2.380",
            1: "projected 2.400 ± 0.040, not taken up again: the best reached 2.380",
        }

    def test_they_are_told_what_was_reached_and_not_what_might_have_been(self) -> None:
        found = [parked(0, 2.4, 0.04), parked(1, 2.3, 0.04), complete(3, 2.38)]
        assert all(told.endswith("the best reached 2.380") for told in given_up(found, over=True).values())

    def test_in_warm_up_none_before_the_study_is_over(self) -> None:
        found = [parked(0, 9.0, reports=3, warmup=3), complete(1, 2.0)]
        assert given_up(found, over=False) == {}
        assert given_up(found, over=True) == {0: "projected 9.000 ± 0.020, not taken up again: the best reached 2.000"}

    def test_only_parked_ones(self) -> None:
        assert given_up([running(0, 9.0), headed(1, 9.0), complete(2, 2.0)], over=False) == {}

    def test_losses_that_were_turned_are_told_as_they_were_reported(self) -> None:
        found = [parked(0, 2.61, 0.04), parked(1, 2.4, 0.04), complete(3, 2.38)]
        assert given_up(found, over=True, sign=-1.0) == {
            0: "projected -2.610 ± 0.040, and trial 3 reached -2.380",
            1: "projected -2.400 ± 0.040, not taken up again: the best reached -2.380",
        }

    def test_the_last_hope_is_not_though_all_that_are_left_are_behind_a_pruned_one(self) -> None:
        """None of them is given up on account of another that is given up as well."""
        left = [parked(0, 3.0), parked(1, 2.9), parked(2, 3.1), headed(3, 2.0)]
        assert given_up(left, over=False).keys() == {0, 2}
        assert given_up(left[:1] + left[3:], over=False) == {}


@pytest.mark.parametrize("more", [True, False])
def test_what_is_taken_up_is_not_parked_again_as_it_is(more: bool) -> None:
    """Else a trial would be saved and loaded at each of its reports."""
    headings = [(2.0, 0.02), (2.005, 0.001), (2.01, 0.02), (2.015, 0.1), (2.018, 0.001), (2.3, 0.4)]
    waiting = [parked(number, *heading) for number, heading in enumerate(headings)]
    rivals = [*waiting, running(9, 2.001)]
    while (number := promoted(rivals, more=more)) is not None:
        rest = others(rivals, number)
        mine = running(number, *headings[number])
        assert verdict(mine, rest, more=more).action == "go on"
        rivals = [*rest, mine]
    taken = [each.number for each in rivals if each.running]
    assert taken == ([9, 0] if more else [9, 0, 2, 3, 5])
