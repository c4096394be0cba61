"""Replayed studies of curves whose outcome is known (`tests.benchmarks.replay`; `make bench-pruning` has real ones)."""

import math
from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.trial import FrozenTrial

from tests.benchmarks.curve_pools import seeds
from tests.benchmarks.promoting import Promoting
from tests.benchmarks.pruning_measures import Order, measure, orders, unpruned_seconds
from tests.benchmarks.pruning_methods import METHODS, Method
from tests.benchmarks.pruning_simulator import Result, frontier
from tests.benchmarks.recorded_curves import CURVES, PARTS, Curve, kendall, read_curves, seed_noise
from tests.benchmarks.replay import Job, Scheduler, replay
from tests.benchmarks.schedulers import Asha, FixedBudget, Pruned

HORIZON = 4


def curve(index: int, *losses: float, seconds: float = 1.0, seed: int = 1) -> Curve:
    return Curve(index, seed, {}, losses, (seconds,) * len(losses))


def falling(index: int, value: float, seconds: float = 1.0) -> Curve:
    return curve(index, *(value + (HORIZON - report) / 10 for report in range(1, HORIZON + 1)), seconds=seconds)


class Watched:
    """Another scheduler, and the reports that it was given, in order."""

    def __init__(self, inner: Scheduler) -> None:
        self.inner, self.seen = inner, list[tuple[int, int]]()

    def next_job(self) -> Job | None:
        return self.inner.next_job()

    def report(self, trial: int, report: int, loss: float) -> bool:
        self.seen.append((trial, report))
        return self.inner.report(trial, report, loss)


class PrunesAt(BasePruner):
    """Prunes some trials at a report each."""

    def __init__(self, at: dict[int, int]) -> None:
        self.at = at

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return self.at.get(trial.number) == trial.last_step


def prunes_at(at: dict[int, int]) -> Method:
    return Method("at", lambda curves, settings, name: Pruned(curves, PrunesAt(at), name), {})


def study_of(*curves: Curve) -> Order:
    return Order("study", curves, tuple(curve.value for curve in curves))


def test_nothing_pruned_spends_all_and_chooses_the_best() -> None:
    order = study_of(falling(0, 3.0), falling(1, 2.0), falling(2, 2.5))
    for slots in (1, 2, 16):
        found = measure(METHODS[0], {}, [order], slots)
        assert (found.spent[0], found.seconds[0], found.regret[0], found.killed[0]) == (1.0, 1.0, 0.0, 0.0)


def test_one_slot_runs_one_trial_after_the_other() -> None:
    curves = [falling(0, 3.0, seconds=5.0), falling(1, 2.0)]
    watched = Watched(Pruned(curves, NopPruner(), "study"))
    done = replay(curves, watched, 1)
    assert watched.seen == [(trial, report) for trial in (0, 1) for report in range(1, HORIZON + 1)]
    assert done.seconds == 4 * 5.0 + 4 * 1.0


def test_several_slots_report_in_simulated_time() -> None:
    curves = [falling(0, 3.0, seconds=2.5), falling(1, 2.0), falling(2, 1.0)]
    watched = Watched(Pruned(curves, NopPruner(), "study"))
    done = replay(curves, watched, 2)
    # Trial 1 ends at 4.0 and gives its slot to trial 2, while trial 0 reports at 2.5, 5.0, 7.5 and 10.0. Of two that
    # report at once, as at 5.0, the one whose step was started first.
    assert watched.seen[:6] == [(1, 1), (1, 2), (0, 1), (1, 3), (1, 4), (0, 2)]
    assert done.seconds == 10.0
    assert unpruned_seconds(curves, 2) == 10.0


def test_a_pruned_trial_has_spent_what_it_ran_and_frees_its_slot() -> None:
    curves = [falling(0, 3.0), falling(1, 2.0), falling(2, 2.5)]
    done = replay(curves, Pruned(curves, PrunesAt({0: 2}), "study"), 1)
    assert done.reports == (2, 4, 4)
    assert done.seconds == 10.0


def test_a_pruner_sees_what_others_reported_by_then_and_no_more() -> None:
    """Median compares with complete trials: of four that run at once none is pruned, of four in turn the worse are."""
    curves = [falling(place, 2.0 + place) for place in range(4)]
    pruner = MedianPruner(n_startup_trials=1)
    assert replay(curves, Pruned(curves, pruner, "at once"), 4).reports == (4, 4, 4, 4)
    assert replay(curves, Pruned(curves, pruner, "in turn"), 1).reports == (4, 1, 1, 1)


def test_the_best_killed_is_counted_and_what_it_costs() -> None:
    order = study_of(curve(0, 3.0, 2.9, 2.8, 2.7), curve(1, 4.0, 3.0, 2.0, 1.0))
    found = measure(prunes_at({1: 1}), {}, [order], 1)
    assert (found.killed[0], found.spent[0]) == (1.0, 5 / 8)
    assert found.regret[0] == pytest.approx(1.7)


def test_what_was_pruned_is_not_chosen_unless_all_were() -> None:
    curves = [curve(0, 3.0, 2.9, 2.8, 2.7), curve(1, 2.0, 3.0, 3.0, 3.0)]
    assert replay(curves, Pruned(curves, PrunesAt({1: 2}), "study"), 1).choice == 0
    assert replay(curves, Pruned(curves, PrunesAt({0: 2, 1: 2}), "study"), 1).choice == 1


def test_regret_is_of_the_truth_not_of_a_seed_s_luck() -> None:
    lucky, steady = falling(0, 2.0), falling(1, 2.1)
    found = measure(METHODS[0], {}, [Order("study", (lucky, steady), (2.4, 2.1))], 1)
    assert found.regret[0] == pytest.approx(0.3)


def test_asha_promotes_the_better_half_of_each_rung() -> None:
    curves = [falling(place, 2.0 + place) for place in range(4)]
    asha = Watched(Asha(len(curves), HORIZON, first_rung=1, eta=2))
    done = replay(curves, asha, 1)
    assert done.reports == (4, 2, 1, 1)
    # The first goes up as soon as there are two to compare; it goes on from where it was.
    assert asha.seen[:3] == [(0, 1), (1, 1), (0, 2)]


def test_asha_promotes_late_comers_over_the_first() -> None:
    curves = [falling(place, 6.0 - place) for place in range(4)]
    done = replay(curves, Asha(len(curves), HORIZON, first_rung=1, eta=2), 1)
    assert (done.choice, done.reports[3]) == (3, 4)


def test_asha_finishes_one_when_too_few_are_there_to_promote() -> None:
    curves = [falling(place, 2.0 + place) for place in range(3)]
    done = replay(curves, Asha(len(curves), HORIZON, first_rung=1, eta=4), 2)
    assert done.reports == (4, 1, 1)


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_after_the_budget_the_best_go_on(slots: int) -> None:
    curves = [falling(0, 3.0), falling(1, 2.0), falling(2, 4.0), falling(3, 1.0)]
    done = replay(curves, FixedBudget(len(curves), HORIZON, budget=2, keep=2), slots)
    assert (done.reports, done.choice) == ((2, 4, 2, 4), 3)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("slots", [1, 2, 4])
def test_promotion_finishes_the_best_and_saves_much_of_the_others(slots: int, known: bool) -> None:
    """Ten curves that are alike but for their height, the best last but one: rules of the product, without a study."""
    heights = [3.0, 2.5, 2.9, 2.3, 2.8, 2.4, 2.7, 2.6, 2.0, 2.2]
    curves = [
        Curve(place, 1, {}, tuple(end + 0.5**report for report in range(1, 9)), (1.0,) * 8, start=end + 1.0)
        for place, end in enumerate(heights)
    ]
    done = replay(curves, Promoting(curves, start_known=known, schedule_known=known), slots)
    assert done.choice == 8
    assert done.reports[8] == 8
    assert sum(done.reports) < 0.8 * 8 * len(curves)
    assert min(done.reports) >= 1, "all are begun"


def test_promotion_keeps_nothing_of_what_diverged() -> None:
    curves = [curve(0, 1.0, math.nan, 1.0, 1.0), curve(1, 3.0, 2.9, 2.8, 2.7), curve(2, 3.2, 3.1, 3.05, 3.02)]
    done = replay(curves, Promoting(curves, start_known=False), 1)
    assert (done.choice, done.reports[:2]) == (1, (2, 4))


def _random_curves() -> Sequence[Curve]:
    rng = np.random.default_rng(5)
    curves = []
    for index in range(12):
        end, height = rng.uniform(2, 3), rng.uniform(0.2, 2)
        losses = [float(end + height * 0.7**report + rng.normal(0, 0.01)) for report in range(15)]
        if index in (3, 7):
            losses[4:] = [math.nan] * 11
        curves.append(curve(index, *losses, seconds=float(rng.uniform(0.5, 2))))
    return curves


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("slots", [1, 4])
def test_every_method_plays_studies_with_diverged_runs_and_keeps_nothing_of_them(method: Method, slots: int) -> None:
    order = study_of(*_random_curves())
    found = measure(method, method.settings()[0], [order, order], slots)
    assert 0 < found.spent[0] <= 1
    assert 0 <= found.regret[0] < 3
    for values in (found.spent, found.seconds, found.regret, found.killed):
        assert values[0] == values[1]


@pytest.mark.filterwarnings("ignore")
def test_every_setting_of_every_grid_can_be_made() -> None:
    curves = [curve(0, *[2.0] * 15), curve(1, *[3.0] * 15)]
    for method in METHODS:
        for settings in method.settings():
            assert replay(curves, method.make(curves, settings, "study"), 1).reports[0] > 0, (method.name, settings)


def test_orders_are_drawn_from_all_configurations_and_seeds() -> None:
    configurations = {index: [falling(index, 2.0 + index), curve(index, *[9.0] * 4, seed=2)] for index in range(6)}
    studies = orders(configurations, 40, trials=3)
    assert {curve.index for order in studies for curve in order.curves} == set(range(6))
    assert {curve.seed for order in studies for curve in order.curves} == {1, 2}
    assert all(len({curve.index for curve in order.curves}) == 3 for order in studies)
    assert all(
        truth == pytest.approx((2.0 + c.index + 9.0) / 2)
        for order in studies
        for c, truth in zip(order.curves, order.truth, strict=True)
    )


@pytest.mark.parametrize(("pool", "least"), [("small", 90), ("default", 60)])
def test_what_is_judged_by_was_not_developed_on(pool: str, least: int) -> None:
    parts = [read_curves(CURVES / part / f"{pool}.jsonl") for part in PARTS]
    assert not set(parts[0]) & set(parts[1])
    for configurations in parts:
        assert len(configurations) >= least
        for index, curves in configurations.items():
            assert tuple(curve.seed for curve in curves) == seeds(index), "a third at two seeds"
            assert all(curve.horizon == 15 and curve.start is not None for curve in curves)


def test_kendall_counts_pairs_that_agree() -> None:
    assert kendall([1, 2, 3], [1, 2, 3]) == 1
    assert kendall([1, 2, 3], [3, 2, 1]) == -1
    assert kendall([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)


def test_seed_noise_is_that_of_the_better_half() -> None:
    def twice(index: int, one: float, other: float) -> list[Curve]:
        return [falling(index, one), curve(index, *[other] * 4, seed=2)]

    found = {0: twice(0, 2.0, 2.1), 1: twice(1, 5.0, 9.0), 2: [falling(2, 1.0)]}
    assert seed_noise(found) == pytest.approx(0.1 / math.sqrt(2))


def test_the_frontier_leaves_out_what_another_beats_in_both() -> None:
    order = study_of(curve(0, 3.0, 2.9, 2.8, 2.7), curve(1, 4.0, 3.0, 2.0, 1.0))
    settings: list[dict[int, int]] = [{1: 3}, {1: 1}, {}]
    results = [Result(str(at), {}, "", 1, measure(prunes_at(at), {}, [order], 1)) for at in settings]
    assert [result.method for result in frontier(results)] == ["{1: 1}", "{}"]
