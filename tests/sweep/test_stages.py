"""The stages that the guide's 4.3 asks for, by how much data there is."""

import pytest

from spaces.load import list_spaces
from sweep.errors import SweepError
from sweep.stages import plan_stages

BOTH, SFT, RESTORED = ["pt domain", "sft instructions"], ["sft instructions"], ["pt domain", "sft generic"]


def ways(domain: int, instructions: int) -> list[list[str]]:
    """Each way as its stages and their data."""
    return [[f"{stage.stage} {stage.data}" for stage in way.stages] for way in plan_stages(domain, instructions)]


@pytest.mark.parametrize(
    ("domain", "instructions", "wanted"),
    [
        (1_000_001, 1, [BOTH]),  # "> 1 M"
        (2_000_000, 20_000, [BOTH]),
        (9_999, 20_000, [SFT]),  # "< 10 k"
        (1, 1, [SFT]),
        (1, 0, [RESTORED]),  # domain data only, however much
        (2_000_000, 0, [RESTORED]),
        (10_000, 20_000, [SFT, BOTH]),  # what the guide leaves open: the cheaper way first
        (1_000_000, 1, [SFT, BOTH]),
        (0, 20_000, [SFT]),
    ],
)
def test_the_guides_stages(domain: int, instructions: int, wanted: list[list[str]]) -> None:
    assert ways(domain, instructions) == wanted


def test_what_the_guide_leaves_open_is_said() -> None:
    (way,) = plan_stages(0, 5)
    assert "which the guide leaves open (4.3)" in way.why
    for domain, instructions in ((2_000_000, 1), (5, 5), (5, 0)):
        assert "(guide 4.3)" in plan_stages(domain, instructions)[0].why


def test_each_stage_has_a_shipped_space_of_its_kind() -> None:
    shipped = {space.name: space.stage for space in list_spaces()}
    for rows in ((2_000_000, 1), (5, 0)):
        for stage in plan_stages(*rows)[0].stages:
            assert shipped[stage.space] == stage.stage


@pytest.mark.parametrize(
    ("domain", "instructions", "reason"),
    [(0, 0, "no rows"), (-1, 5, "the number of domain rows is -1"), (5, -2, "the number of instruction rows is -2")],
)
def test_what_is_no_data(domain: int, instructions: int, reason: str) -> None:
    with pytest.raises(SweepError, match=f"^{reason}"):
        plan_stages(domain, instructions)
