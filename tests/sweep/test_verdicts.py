"""What a summary says of ratio, target and rank."""

import itertools

from sweep.observations import Observation
from sweep.verdicts import verdict_lines


def grid(better: float) -> list[Observation]:
    """A grid in which twice the ratio is better by so much, and the target changes nothing."""
    cells = itertools.product((1, 2), ("qv", "all"), (8,), (1e-4, 3e-4, 1e-3), (1, 2))
    return [
        Observation(
            number,
            {"alpha_ratio": ratio, "lora_target": target, "lora_rank": rank, "learning_rate": rate, "seed": seed},
            2.0 - better * (ratio == 2) + (-1) ** number * 0.001 * (number % 3) + 10 * rate,
        )
        for number, (ratio, target, rank, rate, seed) in enumerate(cells)
    ]


def test_each_question_that_varied_is_answered_with_its_interval_and_pairs() -> None:
    told = dict(verdict_lines(grid(better=0.1)))
    assert set(told) == {"2:1 against 1:1", "qv against all"}
    assert told["2:1 against 1:1"].startswith("-0.100 [-0.1")
    assert told["2:1 against 1:1"].endswith("better (12 pairs)")
    assert told["qv against all"].endswith("not distinguishable (12 pairs)")


def test_ranks_are_called_so() -> None:
    runs = [Observation(n, {"lora_rank": rank, "seed": n // 2}, 2.0) for n, rank in enumerate((8, 16) * 4)]
    assert [label for label, _ in verdict_lines(runs)] == ["rank 16 against rank 8"]


def test_levels_without_a_verdict_are_left_out() -> None:
    assert verdict_lines(grid(better=0.1)[:2]) == []
    assert verdict_lines([]) == []
    assert verdict_lines([Observation(0, {"lora_rank": 8}, 2.0)]) == []
