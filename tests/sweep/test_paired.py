"""Effects within blocks: means, intervals that respect few blocks, noise and projections."""

import math
from collections.abc import Hashable

import numpy as np
import pytest

from sweep.comparison import student
from sweep.observations import Observation
from sweep.paired import Noise, blocked_share, frozen, paired_effects, repeat_noise


def effects(
    *trials: tuple[str, int, float], noise: Noise | None = None, error: float = 0.0
) -> dict[Hashable, tuple[float, float, float, int] | None]:
    runs = [
        Observation(number, {}, loss, error if level == "b" else 0.0) for number, (level, _, loss) in enumerate(trials)
    ]
    found = paired_effects(runs, [level for level, *_ in trials], [block for _, block, _ in trials], "a", noise)
    return {
        level: None if effect is None else (effect.difference, effect.low, effect.high, effect.basis)
        for level, effect in found.items()
    }


def pairs(*differences: float) -> list[tuple[str, int, float]]:
    """Blocks of very different losses, each with a pair."""
    return [
        trial
        for block, difference in enumerate(differences)
        for trial in (("a", block, 2.0 + block), ("b", block, 2.0 + block + difference))
    ]


def test_the_effect_is_the_mean_difference_within_blocks() -> None:
    found = effects(*pairs(-0.1, -0.2, -0.3))["b"]
    assert found is not None
    assert found[0] == pytest.approx(-0.2)
    assert found[3] == 3


def test_blocks_without_the_reference_do_not_count() -> None:
    found = effects(*pairs(-0.1, -0.2, -0.3), ("b", 7, 1.0), ("a", 8, 1.0))["b"]
    assert found is not None
    assert found[0] == pytest.approx(-0.2)
    assert found[3] == 3


def test_no_common_block_is_no_effect() -> None:
    assert effects(("a", 0, 1.0), ("b", 1, 1.0)) == {"b": None}


def test_repeats_in_a_block_are_averaged() -> None:
    found = effects(("a", 0, 1.0), ("a", 0, 1.2), ("b", 0, 1.5), noise=Noise(0.1, 1))["b"]
    assert found is not None
    assert found[0] == pytest.approx(0.4)
    assert found[2] - found[0] == pytest.approx(student(1) * 0.1 * math.sqrt(1.5))


def test_one_pair_without_noise_known_has_no_interval() -> None:
    found = effects(*pairs(-0.1))["b"]
    assert found is not None
    assert found[1:3] == (-math.inf, math.inf)


def test_below_three_pairs_there_is_no_verdict() -> None:
    for count, verdict in ((2, "no verdict"), (3, "better")):
        trials = pairs(*[-0.1 - step / 1e6 for step in range(count)])
        runs = [Observation(number, {}, loss) for number, (*_, loss) in enumerate(trials)]
        found = paired_effects(runs, [t[0] for t in trials], [t[1] for t in trials], "a", None)["b"]
        assert found is not None
        assert found.verdict == verdict


def test_an_interval_is_never_narrower_than_the_noise_of_repeats() -> None:
    alike = pairs(-0.001, -0.001, -0.001)
    quiet, noisy = effects(*alike)["b"], effects(*alike, noise=Noise(0.01, 10))["b"]
    assert quiet is not None
    assert quiet[2] < 0
    assert noisy is not None
    assert noisy[2] == pytest.approx(-0.001 + student(10) * 0.01 * math.sqrt(2 / 3))


def test_the_error_of_a_projection_widens_the_interval() -> None:
    sure, unsure = effects(*pairs(-0.1, -0.1, -0.1))["b"], effects(*pairs(-0.1, -0.1, -0.1), error=0.1)["b"]
    assert sure is not None
    assert unsure is not None
    assert unsure[2] > 0 > sure[2]


@pytest.mark.parametrize("count", [4, 10])
def test_intervals_cover_the_truth_also_with_few_blocks(count: int) -> None:
    rng, held = np.random.default_rng(3), 0
    for _ in range(200):
        found = effects(*pairs(*rng.normal(-0.1, 0.05, count)))["b"]
        assert found is not None
        held += found[1] <= -0.1 <= found[2]
    assert held >= 0.91 * 200


def test_noise_is_pooled_over_settings() -> None:
    runs = [Observation(number, {}, loss) for number, loss in enumerate([1.0, 1.2, 5.0, 5.4, 9.0])]
    noise = repeat_noise(runs, ["x", "x", "y", "y", "z"])
    assert noise is not None
    assert noise.freedom == 2
    assert noise.deviation == pytest.approx(math.sqrt((0.1**2 * 2 + 0.2**2 * 2) / 2))


def test_losses_that_round_alike_are_not_free_of_noise() -> None:
    noise = repeat_noise([Observation(0, {}, 0.5123), Observation(1, {}, 0.5123)], ["x", "x"])
    assert noise is not None
    assert noise.deviation == pytest.approx(1e-4 / math.sqrt(12))


def test_without_repeats_the_noise_is_not_known() -> None:
    pruned = [Observation(number, {}, 1.0, pruned=True) for number in range(2)]
    assert repeat_noise([Observation(2, {}, 1.0), *pruned], ["x", "x", "x"]) is None


def test_a_grid_is_told_from_a_search() -> None:
    assert blocked_share("abab", "xxyy") == 1.0
    assert blocked_share("abab", "wxyz") == 0.0


def test_settings_compare_by_what_they_hold() -> None:
    assert frozen({"a": 1, "b": 2}) == frozen({"b": 2, "a": 1})
