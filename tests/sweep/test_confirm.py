"""Which leaders run again, and when their losses name a winner."""

import numpy as np
import pytest

from sweep.confirm import Candidate, judge, leaders
from sweep.errors import SweepError
from tests.sweep.fakes import trial_row


def candidate(number: int, *losses: float, parameters: int = 100, memory: int = 10, seconds: float = 1.0) -> Candidate:
    return Candidate(number, dict(enumerate(losses, start=43)), parameters, memory, seconds)


def test_the_best_settings_lead_each_once() -> None:
    rows = [
        trial_row(0, 3.0, params={"lora_rank": 8, "seed": 1}),
        trial_row(1, 2.0, params={"lora_rank": 16, "seed": 1}),
        trial_row(2, 2.1, params={"lora_rank": 16, "seed": 2}),
        trial_row(3, 2.5, params={"lora_rank": 32, "seed": 1}),
        trial_row(4, 1.0, params={"lora_rank": 64}, state="pruned"),
        trial_row(5, None, params={"lora_rank": 4}, state="running"),
    ]
    assert [row["trial_number"] for row in leaders("demo", rows, ["lora_rank"], 2)] == [1, 3]
    assert [row["trial_number"] for row in leaders("demo", rows, ["lora_rank"], 9)] == [1, 3, 0]


def test_one_setting_is_nothing_to_choose_between() -> None:
    rows = [trial_row(0, 3.0), trial_row(1, 3.1)]
    with pytest.raises(SweepError, match="study 'demo' has 1 complete trial of different settings; a confirmation"):
        leaders("demo", rows, ["learning_rate"], 3)
    with pytest.raises(SweepError, match="--top is 1; allowed: a whole number of at least 2"):
        leaders("demo", rows, ["learning_rate"], 1)


def test_a_clear_winner_is_named_though_it_costs_more() -> None:
    verdict = judge(
        [
            candidate(4, 2.00, 2.11, 2.20, parameters=900),
            candidate(7, 2.10, 2.20, 2.30),
            candidate(9, 2.15, 2.26, 2.35),
        ]
    )
    assert verdict is not None
    assert (verdict.chosen.number, verdict.sure) == (4, True)
    assert [standing.candidate.number for standing in verdict.standings] == [4, 7, 9]
    assert verdict.standings[1].difference == pytest.approx(0.29 / 3)


def test_a_seeds_own_effect_does_not_hide_a_difference() -> None:
    """All losses move by 1 nat from seed to seed, and still the difference of 0.1 is seen."""
    assert judge([candidate(1, 2.0, 3.0, 4.001), candidate(2, 2.1, 3.101, 4.1)]).sure  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("costs", "chosen"),
    [
        ([{"parameters": 300}, {"parameters": 200}], 2),
        ([{"memory": 10}, {"memory": 9}], 2),
        ([{"seconds": 2.0}, {"seconds": 1.0}], 2),
        ([{"memory": 9, "seconds": 9.0}, {"memory": 10, "seconds": 1.0}], 1),
        ([{"parameters": 100, "memory": 99}, {"parameters": 101, "memory": 1}], 1),
    ],
)
def test_of_those_that_cannot_be_told_apart_the_cheapest_is_chosen(costs: list[dict[str, int]], chosen: int) -> None:
    """Fewest parameters, then memory, then time."""
    alike = [
        candidate(1, 2.0, 2.3, **costs[0]),
        candidate(2, 2.1, 2.15, **costs[1]),
        candidate(3, 9.0, 9.2, parameters=1),
    ]
    verdict = judge(alike)
    assert verdict is not None
    assert (verdict.chosen.number, verdict.sure) == (chosen, False)
    assert [standing.alike for standing in verdict.standings] == [True, True, False]


def test_only_seeds_that_all_have_are_compared() -> None:
    first = Candidate(1, {43: 2.0, 44: 2.1, 45: 9.0}, 1, 1, 1)
    second = Candidate(2, {43: 2.2, 44: 2.3}, 1, 1, 1)
    verdict = judge([first, second])
    assert verdict is not None
    assert verdict.seeds == (43, 44)
    assert verdict.standings[0].mean == pytest.approx(2.05)


def test_one_seed_or_one_setting_is_no_verdict() -> None:
    assert judge([candidate(1, 2.0), candidate(2, 3.0)]) is None
    assert judge([candidate(1, 2.0, 2.1)]) is None
    assert judge([]) is None


def _shares(gap: float, studies: int = 600) -> tuple[float, float]:
    """In how many synthetic studies a winner was named, and in how many of all the wrong one.

    Three settings at three seeds; noise of 0.01 nats a run, and 0.05 that a seed does to all; one is better by `gap`.
    """
    rng = np.random.default_rng(7)
    named = wrong = 0
    for _ in range(studies):
        seeds = rng.normal(0, 0.05, 3)
        losses = 2.0 + seeds[None, :] + rng.normal(0, 0.01, (3, 3)) + np.array([0.0, gap, gap])[:, None]
        verdict = judge([candidate(number, *row) for number, row in enumerate(losses)])
        assert verdict is not None
        named += verdict.sure
        wrong += verdict.sure and verdict.chosen.number != 0
    return named / studies, wrong / studies


def test_equal_settings_have_a_winner_in_no_more_than_one_study_in_twenty() -> None:
    named, _ = _shares(0.0)
    assert named <= 0.05


def test_a_setting_that_is_better_by_six_deviations_is_named_and_a_worse_one_never() -> None:
    named, wrong = _shares(0.06)
    assert named >= 0.8
    assert wrong == 0
