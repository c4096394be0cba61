"""What an exported file says of the study's knobs."""

from typing import Any

from sweep.exports.verdicts import verdicts
from tests.sweep.fakes import trial_row
from trials.curve import LearningCurve

SPACE = {"search": ["lora_rank", "learning_rate"]}
RATES = (1e-4, 2e-4, 5e-4, 1e-3)


class NoCurves:
    """Results of complete trials, whose curves do not matter."""

    def curve(self, number: int) -> LearningCurve:
        return LearningCurve([])


def told(rank_4_is_worse_by: tuple[float, ...]) -> tuple[str, ...]:
    """The verdicts of a grid of two ranks at four learning rates, two trials of rank 8 at the first."""
    rows: list[dict[str, Any]] = []
    for place, rate in enumerate(RATES):
        for rank, loss in ((8, 2.0), (4, 2.0 + rank_4_is_worse_by[place]), (8, 2.001)):
            params = {"lora_rank": rank, "learning_rate": rate}
            rows.append(trial_row(len(rows), loss + place / 10, params=params))
    return verdicts(NoCurves(), rows, SPACE)  # type: ignore[arg-type]


def test_what_is_worse_is_told_with_its_interval() -> None:
    (line,) = told((0.10, 0.11, 0.09, 0.10))
    assert line.startswith("lora_rank 4 against 8: worse, +0.09")
    assert line.endswith("] nats per token.")


def test_where_nothing_can_be_told_apart_it_says_so() -> None:
    assert told((0.10, -0.11, 0.09, -0.10)) == (
        "lora_rank: no level can be told apart from the most frequent one (`sweep compare`).",
    )


def test_where_nothing_was_compared_nothing_is_said() -> None:
    assert verdicts(NoCurves(), [trial_row(0, 2.0)], SPACE) == ()  # type: ignore[arg-type]
