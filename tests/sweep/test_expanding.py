"""Ranges that grow in the same study: when, how far, with what record, and whether the optimum is found."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from spaces.errors import SpaceError
from spaces.space import SearchSpace
from sweep.contenders import HORIZON
from sweep.expanding import (
    EXPANSIONS,
    Expansion,
    expanded,
    expanded_plain,
    find_expansions,
    find_probes,
    make_expander,
    recorded,
    summarised,
)
from sweep.plan import ranges, suggest
from sweep.recovery import put_back
from sweep.samplers import SeededTPE
from sweep.sweep_storage import SweepStorage
from tests.benchmarks.expansion import make_session, simulate
from tests.sweep.fakes import make_space

LOG = "{float: [1e-4, 2e-4], log: true, limits: [1e-6, 1e-1]}"
HIGH = (1.9e-4, 1.8e-4, 1.7e-4, 1.1e-4)  # best first: the upper edge is crowded
STEP = Expansion("x", "upper", (1e-4, 2e-4), (1e-4, 6e-4), 4, [0, 1, 2])


def space_of(knob: str) -> SearchSpace:
    return make_space(f"stage: sft\nsearch:\n  x: {knob}\n  y: {{choice: [1, 2]}}\nderived: {{lora_rank: 8 * x * y}}")


def trial(value: float, number: int = 0, **changes: Any) -> FrozenTrial:
    x = changes.pop("x")
    distributions: Mapping[str, Any] = {"x": FloatDistribution(-1e3, 1e3), "y": CategoricalDistribution([1, 2])}
    params = {"x": x, "y": changes.pop("y", 1)}
    made = create_trial(value=value, params=params, distributions=dict(distributions), **changes)
    made.number = number
    return made


def trials_at(values: Sequence[float]) -> list[FrozenTrial]:
    """Trials from best to worst; the best alone has y 2."""
    return [trial(2.0 + number, number, x=value, y=1 if number else 2) for number, value in enumerate(values)]


def grown(knob: str, values: Sequence[float]) -> Sequence[float] | None:
    found = find_expansions(trials_at(values), space_of(knob))
    return found[0][0].after if found else None


def test_a_crowded_edge_grows_and_the_best_setting_tries_it() -> None:
    assert find_expansions(trials_at(HIGH), space_of(LOG)) == [(STEP, {"x": 6e-4, "y": 2})]


@pytest.mark.parametrize(
    ("knob", "values", "after"),
    [
        (LOG, (1.1e-4, 1.1e-4, 1.2e-4, 1.9e-4), (3.33e-5, 2e-4)),
        (LOG.replace("1e-1", "5e-4"), HIGH, (1e-4, 5e-4)),
        (LOG.replace("1e-1", "2e-4"), HIGH, None),
        (LOG.replace(", limits: [1e-6, 1e-1]", ""), HIGH, None),
        ("{choice: [1.1e-4, 1.7e-4, 1.8e-4, 1.9e-4]}", HIGH, None),
        (LOG, HIGH[:3], None),
        ("{float: [0.5, 1.5], limits: [0.1, 9]}", (1.5, 1.45, 1.44, 1.0), (0.5, 2.0)),
        ("{float: [0.5, 1.5], limits: [0.1, 9]}", (0.5, 0.55, 0.56, 1.0), (0.1, 1.5)),
        ("{int: [2, 5], limits: [1, 20]}", (5, 5, 5, 2), (2, 7)),
        ("{int: [2, 5], limits: [1, 20]}", (2, 2, 2, 5), (1, 5)),
        ("{int: [8, 24], step: 8, limits: [8, 60]}", (24, 24, 24, 8), (8, 32)),
        ("{int: [8, 24], step: 8, limits: [8, 30]}", (24, 24, 24, 8), None),
        ("{int: [2, 8], log: true, limits: [1, 64]}", (8, 8, 7, 2), (2, 24)),
    ],
    ids=[
        *("lower", "to the limit", "at the limit", "no limits", "choice", "too few", "linear", "linear to its limit"),
        *("int", "int to its limit", "int with a step", "int at its last step", "int log"),
    ],
)
def test_a_range_grows_by_a_step_within_its_limits(
    knob: str, values: Sequence[float], after: tuple[float, float] | None
) -> None:
    found = grown(knob, values)
    assert found is None if after is None else found == pytest.approx(after)


def test_pruned_trials_count_by_where_they_were_heading() -> None:
    steep = {"state": TrialState.PRUNED, "intermediate_values": {1: 4.0, 2: 3.0, 3: 2.5}, "user_attrs": {HORIZON: 5}}
    flat = steep | {"intermediate_values": {1: 4.0, 2: 3.99, 3: 3.98}}
    inside = [trial(2.3, 0, x=1.9e-4), trial(2.4, 1, x=1.8e-4), trial(2.6, 2, x=1.2e-4), trial(2.7, 3, x=1.2e-4)]
    for curve, grows in ((steep, True), (flat, False)):
        pruned = trial(None, 4, x=1.95e-4, **curve)  # type: ignore[arg-type]
        assert bool(find_expansions([*inside, pruned], space_of(LOG))) is grows


def test_a_probe_that_leads_grows_the_range_again_by_itself() -> None:
    wider = space_of(LOG.replace("2e-4", "6e-4"))
    probe_leads = trials_at((6e-4, 1.9e-4, 1.8e-4, 1.7e-4, 1.1e-4))
    (again, probe), *more = find_expansions(probe_leads, wider, [("x", 6e-4)])
    assert (again.edge, tuple(again.before), tuple(again.after), again.trials) == (
        "upper",
        (1e-4, 6e-4),
        (1e-4, 1.8e-3),
        [0],
    )
    assert (probe["x"], more) == (1.8e-3, [])
    assert again.words() == "x: trial 0, which tried the upper edge of 1e-4..6e-4, is the best: grown to 1e-4..1.8e-3"


def test_a_trial_at_an_edge_that_was_not_tried_on_purpose_is_no_probe() -> None:
    wider = space_of(LOG.replace("2e-4", "6e-4"))
    for values in ((1e-4, 1.9e-4, 1.8e-4, 1.7e-4), (1.9e-4, 6e-4, 1.8e-4, 1.7e-4)):
        assert find_expansions(trials_at(values), wider, [("x", 6e-4)]) == []
    assert find_expansions(trials_at((6e-4, 1.9e-4, 1.8e-4, 1.7e-4)), wider) == []


FALLING = (1.8e-4, 1.7e-4, 1.4e-4, 1.3e-4, 1.2e-4, 1.1e-4)  # best first: losses fall towards the upper edge


@pytest.mark.parametrize(
    ("values", "probed", "tried"),
    [
        (FALLING, [], [2e-4]),
        (FALLING[::-1], [], [1e-4]),
        (FALLING[:5], [], []),
        (FALLING, [("x", 2e-4)], []),
        (FALLING * 2, [("x", 2e-4)], [1e-4]),
        (FALLING * 2, [("x", 2e-4), ("x", 1e-4)], []),
        (FALLING * 2, [("y", 2.0)], [2e-4]),
    ],
    ids=["upper", "lower", "too few", "tried", "the other edge", "both tried", "of another knob"],
)
def test_the_edge_that_losses_fall_towards_is_tried_first(
    values: Sequence[float], probed: list[tuple[str, float]], tried: list[float]
) -> None:
    assert [probe["x"] for _, probe in find_probes(trials_at(values), space_of(LOG), probed)] == tried


def test_a_probe_has_the_best_trials_other_settings() -> None:
    assert find_probes(trials_at(FALLING), space_of(LOG), []) == [("x", {"x": 2e-4, "y": 2})]


def test_a_range_at_its_limit_is_tried_at_its_other_edge() -> None:
    at_limit = space_of(LOG.replace("1e-1", "2e-4"))
    assert [probe["x"] for _, probe in find_probes(trials_at(FALLING), at_limit, [])] == [1e-4]
    assert find_probes(trials_at(FALLING), space_of(LOG.replace(", limits: [1e-6, 1e-1]", "")), []) == []


def test_a_trial_without_the_knob_is_passed_over() -> None:
    without = create_trial(value=1.0, params={"y": 1}, distributions={"y": CategoricalDistribution([1, 2])})
    assert find_expansions([without, *trials_at(HIGH)], space_of(LOG))[0][0].finished == 5


def test_a_growth_is_told() -> None:
    assert (
        STEP.words() == "x: 3 of the best 4 trials (0, 1, 2) lie on the upper edge of 1e-4..2e-4: grown to 1e-4..6e-4"
    )
    again = Expansion("x", "upper", (1e-4, 6e-4), (1e-4, 1.8e-3), 9, [5, 6, 7])
    assert summarised([STEP, again]) == {"x": "grown from 1e-4..2e-4 to 1e-4..1.8e-3, after 4 and 9 trials"}


def test_a_space_has_the_growths_of_its_study() -> None:
    space = space_of(LOG)
    assert expanded(space, [STEP]).to_dict() == expanded_plain(space.to_dict(), [STEP])
    assert expanded_plain(space.to_dict(), [STEP])["search"]["x"]["float"] == [1e-4, 6e-4]
    assert space.to_dict()["search"]["x"]["float"] == [1e-4, 2e-4]


def test_limits_that_were_drawn_in_since_are_an_error() -> None:
    with pytest.raises(SpaceError, match="passes its limits"):
        expanded(space_of(LOG.replace("1e-1", "5e-4")), [STEP])


def crowd(study: optuna.Study, rates: Sequence[float]) -> None:
    for number, rate in enumerate(rates):
        study.add_trial(
            create_trial(
                value=2.0 + number,
                params={"learning_rate": rate},
                distributions={"learning_rate": FloatDistribution(1e-4, 2e-4, log=True)},
            )
        )


def test_a_growth_holds_is_recorded_said_and_tried(study: optuna.Study) -> None:
    session, said = make_session("1e-4..2e-4", total=24)
    study.sampler = sampler = SeededTPE(1, 24)
    crowd(study, HIGH)
    make_expander(session)(study, None)
    (growth,) = recorded(study)
    assert (growth.knob, growth.finished, growth.trials) == ("learning_rate", 4, [0, 1, 2])
    assert study.user_attrs[EXPANSIONS][0]["after"] == [1e-4, 6e-4]
    assert ranges(session.plan.space)["learning_rate"] == FloatDistribution(1e-4, 6e-4, log=True)
    assert sampler.ranges == ranges(session.plan.space)
    assert study.trials[-1].system_attrs["fixed_params"] == {"learning_rate": 6e-4}
    assert "grown to 1e-4..6e-4" in said.getvalue()


def test_a_study_that_has_all_its_trials_does_not_grow(study: optuna.Study) -> None:
    session, _ = make_session("1e-4..2e-4", total=4)
    crowd(study, HIGH)
    make_expander(session)(study, None)
    assert recorded(study) == []


def later_draws(storage: BaseStorage | None, n_jobs: int) -> list[float]:
    """Learning rates of a study whose range grows after 12 trials, far from all that was tried."""
    space = make_space(
        "stage: sft\nsearch:\n  learning_rate: {float: [1e-4, 2e-4], log: true}\n  lora_rank: {choice: [8, 16]}\n"
    )
    sampler = SeededTPE(1, 12)
    study = optuna.create_study(storage=storage, study_name="grown", sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        params = space.walk(lambda knob: suggest(trial, knob))
        return abs(math.log(params["learning_rate"] / 3e-3)) + float(params["lora_rank"]) / 100

    study.optimize(objective, n_trials=12, n_jobs=n_jobs)
    space = expanded(space, [Expansion("learning_rate", "upper", (1e-4, 2e-4), (1e-4, 1e-2), 12, [])])
    sampler.ranges = ranges(space)
    study.optimize(objective, n_trials=14, n_jobs=n_jobs)
    for later in study.trials[14:]:  # drawn jointly, by TPE: not independently of the rank
        shared = "".join(str(value) for key, value in later.system_attrs.items() if "relative_params" in key)
        assert "learning_rate" in shared
        assert "lora_rank" in shared
    return [trial.params["learning_rate"] for trial in study.trials]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_tpe_draws_a_range_that_grew_jointly_and_from_where_it_is_new(n_jobs: int) -> None:
    rates = later_draws(None, n_jobs)
    assert max(rates[:12]) <= 2e-4
    assert max(rates[12:]) > 1e-3
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)


def test_tpe_draws_the_same_from_sqlite(storage: SweepStorage) -> None:
    assert later_draws(storage, 1) == later_draws(None, 1)


@pytest.fixture(scope="module")
def outside() -> list[tuple[float, float, int]]:
    """With an optimum 22 times above the guide's range, over seeds: distances without and with growth, and growths."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = []
    for seed in range(6):
        runs = [simulate(seed, "1e-4..2e-4", 4.5e-3, expand=expand) for expand in (False, True)]
        far = [abs(math.log(run.best / 4.5e-3)) for run in runs]
        found.append((far[0], far[1], len(runs[1].expansions)))
    return found


def test_a_study_as_it_is_stays_at_its_edge(outside: list[tuple[float, float, int]]) -> None:
    assert all(far > math.log(20) for far, _, _ in outside)


def test_a_study_that_grows_finds_an_optimum_far_outside(outside: list[tuple[float, float, int]]) -> None:
    # Measured over 40 seeds by `make bench-expansion`: 75 % within a factor of 2.
    assert sum(near <= math.log(2) for _, near, _ in outside) >= 4
    assert all(near < far for far, near, _ in outside)


def test_a_study_whose_optimum_is_inside_does_not_grow() -> None:
    grown = [simulate(seed, "1e-5..1e-2", 1e-3, expand=True).expansions for seed in range(6)]
    assert grown == [[]] * 6


def test_slots_in_threads_grow_a_range_in_a_file(storage: SweepStorage) -> None:
    run = simulate(2, "1e-4..2e-4", 4.5e-3, 16, expand=True, n_jobs=2, storage=storage)
    steps = [growth.after[1] for growth in run.expansions]
    assert len(run.rates) == 16
    assert steps == sorted(set(steps))
    assert steps
    assert run.said.count("grown to") == len(steps)


@pytest.mark.filterwarnings("error:Inconsistent")
def test_a_trial_that_was_interrupted_before_the_growth_keeps_its_value(study: optuna.Study) -> None:
    first = study.ask()
    before = first.suggest_float("learning_rate", 1e-4, 2e-4, log=True)
    put_back(study, study.trials[0])
    session, _ = make_session("1e-4..6e-4", total=24)
    again = study.ask()
    assert again.number == first.number
    assert session.plan.space.walk(lambda knob: suggest(again, knob))["learning_rate"] == before
