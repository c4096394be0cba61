"""The shipped spaces against the guide, whose ranges are written here once more, by hand."""

import random
import re
from typing import Any

import pytest

from spaces.load import LIBRARY, list_spaces, load_space
from spaces.parameter import Float, Parameter, Scalar
from spaces.space import SearchSpace

Ranges = dict[str, tuple[float, float]]
GENERAL: Ranges = {
    "alpha_ratio": (1, 2),  # 3.2
    "effective_batch_size": (8, 32),  # 3.3
}
INSTRUCTIONS: Ranges = GENERAL | {  # 4.2
    "learning_rate": (1e-4, 2e-4),
    "num_train_epochs": (2, 5),
    "warmup_ratio": (0.1, 0.2),
    "cutoff_len": (1024, 2048),
}
START: Ranges = INSTRUCTIONS | {  # 3.1-3.4
    "lora_rank": (8, 8),
    "lora_alpha": (16, 16),
    "alpha_ratio": (2, 2),
    "num_train_epochs": (2, 2),
    "warmup_ratio": (0.1, 0.1),
    "effective_batch_size": (16, 16),
}
GUIDE: dict[str, Ranges] = {
    "sft_lora": INSTRUCTIONS | {"lora_rank": (8, 32), "lora_alpha": (8, 32)},  # 4.2
    "pt_lora": GENERAL
    | {  # 4.1
        "lora_rank": (8, 16),
        "lora_alpha": (8, 16),
        "alpha_ratio": (1, 1),
        "learning_rate": (5e-5, 1e-4),
        "num_train_epochs": (1, 2),
        "warmup_ratio": (0.05, 0.1),
        "cutoff_len": (2048, 4096),
    },
    "low_memory": INSTRUCTIONS
    | {  # 4.4; alpha by 3.2
        "lora_rank": (4, 4),
        "lora_alpha": (8, 8),
        "alpha_ratio": (2, 2),
        "effective_batch_size": (16, 16),
        "cutoff_len": (1024, 1024),
    },
    "max_performance": INSTRUCTIONS
    | {  # 4.5
        "lora_rank": (32, 64),
        "lora_alpha": (32, 64),
        "learning_rate": (2e-4, 2e-4),
        "num_train_epochs": (3, 5),
        "warmup_ratio": (0.1, 0.1),
    },
    "lr_sweep": START | {"learning_rate": (2e-5, 10 * 2e-4)},  # 2.1 to ten times 3.1's end, 2.4
    "lora_targets": START | {"learning_rate": (5e-5, 5 * 1e-4)},  # 3.1 to five times its start, 2.4
    "alpha_ratios": START
    | {
        "lora_rank": (4, 16),
        "lora_alpha": (4, 32),
        "alpha_ratio": (1, 2),
        "learning_rate": (5e-5, 5 * 1e-4),
    },
    # 3.2
    "task_simple": INSTRUCTIONS | {"lora_rank": (4, 8), "lora_alpha": (8, 16), "alpha_ratio": (2, 2)},
    "task_regular": INSTRUCTIONS | {"lora_rank": (8, 16), "lora_alpha": (8, 16)},
    "task_complex": INSTRUCTIONS | {"lora_rank": (16, 32), "lora_alpha": (16, 32), "alpha_ratio": (1, 1)},
    "task_memory_tight": INSTRUCTIONS | {"lora_rank": (2, 4), "lora_alpha": (4, 8), "alpha_ratio": (2, 2)},
}
# Their upper ends cost memory, and a real range is not drawn to its ends.
NOT_TO_BOTH_ENDS = ("cutoff_len", "learning_rate")
each_space = pytest.mark.parametrize("name", GUIDE)


def draws(space: SearchSpace) -> list[dict[str, Any]]:
    """Walk the space 200 times at random."""
    rng = random.Random(space.name)

    def suggest(knob: Parameter) -> Scalar:
        return rng.uniform(knob.low, knob.high) if isinstance(knob, Float) else rng.choice(list(knob.values()))

    return [space.walk(suggest) for _ in range(200)]


def test_every_shipped_space_is_checked_here() -> None:
    assert [space.name for space in list_spaces()] == sorted(GUIDE)


@each_space
def test_no_draw_leaves_the_guides_ranges_and_all_draws_fill_them(name: str) -> None:
    found = draws(load_space(name))
    for knob, (low, high) in GUIDE[name].items():
        values = [params[knob] for params in found]
        assert low <= min(values) <= max(values) <= high, knob
        if knob not in NOT_TO_BOTH_ENDS:
            assert (min(values), max(values)) == (low, high), knob


@each_space
def test_alpha_is_the_rank_times_the_ratio_and_targets_are_named_sets(name: str) -> None:
    for params in draws(load_space(name)):
        assert params["lora_alpha"] == params["lora_rank"] * params["alpha_ratio"]
        assert params["lora_target"] in ("qv", "attention", "mlp", "all")
        assert params["lr_scheduler_type"] == "cosine"  # 3.1's advice
        assert params["stage"] == ("pt" if name == "pt_lora" else "sft")


@each_space
def test_each_begins_with_a_whole_point_and_is_said_in_one_short_line(name: str) -> None:
    space = load_space(name)
    for point in space.start:
        assert space.walk(lambda knob, point=point: point[knob.name])["lora_rank"] <= 32  # type: ignore[misc]
    assert space.start
    assert space.guide
    assert 0 < len(space.description) <= 100
    assert "\n" not in space.description


@each_space
def test_every_knob_has_a_comment_with_its_section(name: str) -> None:
    text = (LIBRARY / f"{name}.yaml").read_text()
    assert text.startswith("#")
    section, above, knobs = "", "", 0
    for line in text.splitlines():
        if line.strip().startswith("#"):
            above += line
            continue
        if line and not line.startswith(" "):
            section = line.split(":")[0]
        if re.match(r"  \w+: ", line) and section in ("fixed", "search", "derived"):
            knobs += 1
            assert re.search(r"\b\d\.\d\b|the guide is silent", above + "".join(line.partition("#")[1:])), line
        above = ""
    assert knobs >= 1


def test_the_comparisons_hold_every_pair() -> None:
    assert load_space("lr_sweep").settings() == (7, ())
    assert load_space("lora_targets").settings() == (4 * 4, ())
    assert load_space("alpha_ratios").settings() == (3 * 2 * 4, ())
    assert [dict(point) for point in load_space("lora_targets").start] == [
        {"lora_target": target, "learning_rate": 1e-4} for target in ("all", "qv", "attention", "mlp")
    ]
    swept = [point["learning_rate"] for point in load_space("lr_sweep").start]
    assert sorted(swept) == [2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3]


def test_a_regular_task_gives_up_the_ratio_and_not_the_ranges() -> None:
    pairs = {(params["lora_rank"], params["lora_alpha"]) for params in draws(load_space("task_regular"))}
    assert pairs == {(8, 8), (8, 16), (16, 16)}
