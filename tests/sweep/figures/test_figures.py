"""The plots of a study, from plain rows: what is in them, and what they say in words."""

import math
from typing import Any

import pytest

from sweep import style
from sweep.comparison import Comparison, Effect, Level
from sweep.figures.all_plots import all_plots
from sweep.figures.comparison import comparison_plot
from sweep.figures.cost import cost_against_loss
from sweep.figures.curves import learning_curves
from sweep.figures.heat_map import rank_and_alpha
from sweep.figures.plot import literal, readable
from sweep.figures.rates import loss_by_rate
from sweep.figures.theme import ANY, DARK, LIGHT
from tests.sweep.fakes import report, trial_row
from trials.curve import LearningCurve


def series(plot: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in plot.figure.data if trace.name}


def made(*losses: float, total: int = 5) -> LearningCurve:
    return LearningCurve([report(place, loss, total=total) for place, loss in enumerate(losses, start=1)])


ROWS = [
    trial_row(0, 2.0, lora_rank=8, lora_alpha=16.0, learning_rate=1e-3, trainable_parameters=100),
    trial_row(1, 2.2, lora_rank=16, lora_alpha=16.0, learning_rate=2e-3, trainable_parameters=50),
    trial_row(2, 2.6, state="pruned", lora_rank=16, lora_alpha=32.0, learning_rate=3e-3, trainable_parameters=70),
]
CURVES = {0: made(3.0, 2.5, 2.2, 2.1, 2.0), 1: made(3.0, 2.6, 2.4, 2.3, 2.2), 2: made(3.1, 2.6)}


def test_curves_are_coloured_by_outcome_and_pruned_ends_are_marked() -> None:
    plot = learning_curves(ROWS, CURVES)
    assert plot is not None
    found = series(plot)
    assert found["complete (2)"].line.color == style.COMPLETE
    assert list(found["complete (2)"].y) == [3.0, 2.5, 2.2, 2.1, 2.0, None, 3.0, 2.6, 2.4, 2.3, 2.2, None]
    assert found["pruned (1)"].line.color == style.PRUNED
    assert (list(found["pruned here"].x), list(found["pruned here"].y)) == ([40.0], [2.6])
    assert list(found["best, trial 0"].x) == [20.0, 40.0, 60.0, 80.0, 100.0]
    assert plot.finding == "3 learning curves: 2 complete, 1 pruned. The lowest loss is 2.000, of trial 0."


def test_a_curve_that_diverged_does_not_press_the_rest_flat() -> None:
    rows = [trial_row(number, 2.0) for number in range(9)] + [trial_row(9, None, state="failed")]
    curves = {number: made(3.0, 2.5, 2.0) for number in range(9)} | {9: made(3.0, 50.0, math.nan)}
    plot = learning_curves(rows, curves)
    assert plot is not None
    assert plot.figure.layout.yaxis.range[1] < 4
    assert "1 point of high loss lies above the axis." in plot.finding


def test_of_many_curves_some_are_drawn_evenly_from_the_best_to_the_worst() -> None:
    rows = [trial_row(number, 2.0 + number) for number in range(100)]
    plot = learning_curves(rows, {number: made(3.0 + number) for number in range(100)}, most=10)
    assert plot is not None
    numbers = [number for number in series(plot)["complete (10)"].customdata if number is not None]
    assert numbers == [0, 11, 22, 33, 44, 55, 66, 77, 88, 99]
    assert "10 of them are drawn" in plot.finding


def test_a_cell_of_rank_and_alpha_holds_its_best() -> None:
    again = trial_row(3, 2.4, lora_rank=8, lora_alpha=16.0)
    plot = rank_and_alpha([*ROWS, again])
    assert plot is not None
    cells = plot.figure.data[0]
    assert (list(cells.x), list(cells.y)) == (["8", "16"], ["16", "32"])
    assert [list(row) for row in cells.z] == [[2.0, 2.2], [None, 2.6]]
    assert [list(row) for row in cells.text] == [["2.000<br>2", "2.200<br>1"], ["", "2.600<br>1 pruned"]]
    assert "lowest loss is 2.000, at rank 8 and alpha 16" in plot.finding


def test_a_series_for_each_ratio_with_pruned_trials_hollow() -> None:
    plot = loss_by_rate(ROWS)
    assert plot is not None
    found = series(plot)
    assert list(found["2:1 (2)"].x) == [1e-3, 3e-3]
    assert [symbol.endswith("-open") for symbol in found["2:1 (2)"].marker.symbol] == [False, True]
    assert found["1:1 (1)"].marker.color != found["2:1 (2)"].marker.color
    assert plot.figure.layout.xaxis.type == "log"
    assert "2:1 is lowest at 1.0e-3 with 2.000" in plot.finding


def level(label: str, effect: Effect | None, verdict: str) -> Level:
    return Level(label, 5, 0, 2.0, 1e-3, 2.1, effect, verdict)


def test_intervals_are_drawn_about_the_reference() -> None:
    levels = (
        level("<b>all</b>", Effect(-0.03, -0.05, -0.01, 5), "better"),
        level("qv", None, "reference"),
        level("mlp", Effect(0.02, -math.inf, math.inf, 1, decided=False), "no verdict"),
    )
    plot = comparison_plot(Comparison("lora_target", "qv", "paired", (), levels, None, 0))
    assert plot is not None
    found = series(plot)
    assert list(found["better"].y) == ["&lt;b&gt;all&lt;/b&gt;"]
    assert list(found["better"].error_x.array) == pytest.approx([0.02])
    assert list(found["better"].error_x.arrayminus) == pytest.approx([0.02])
    assert list(found["no verdict"].error_x.array) == [0.0]
    assert "mlp +0.0200 [open, open], no verdict" in plot.finding


def test_the_front_holds_what_nothing_beats_and_times_are_of_one_machine() -> None:
    rows = [
        trial_row(number, loss, trainable_parameters=cost)
        for number, (loss, cost) in enumerate([(2.0, 400), (2.1, 200), (2.2, 300), (2.3, 100), (1.9, 500)])
    ]
    curves = {number: made(*([2.5] * (number + 1))) for number in range(5)}
    machines = {0: "a, cuda", 1: "a, cuda", 2: "a, cuda", 3: "b, cpu", 4: None}
    by_key = {plot.key: plot for plot in cost_against_loss(rows, curves, machines)}
    _, front = by_key["cost-parameters"].figure.data
    assert list(front.x) == [100, 200, 400, 500]
    assert list(front.y) == [2.3, 2.1, 2.0, 1.9]
    assert list(by_key["cost-time"].figure.data[0].customdata) == [0, 1, 2]
    assert "2 trials of other machines are left out" in by_key["cost-time"].finding
    assert "a, cuda" in by_key["cost-time"].title
    assert "cost-memory" not in by_key  # all had the same


def test_nothing_to_show_is_no_plot() -> None:
    assert all_plots([], {}, {}, []) == []
    assert all_plots(ROWS[:1], {}, {}, []) == []
    nothing_told = trial_row(0, 2.0, lora_rank=None, lora_alpha=None, learning_rate=None, trainable_parameters=None)
    assert all_plots([nothing_told, nothing_told | {"trial_number": 1}], {}, {}, []) == []


def test_names_are_shown_to_the_letter() -> None:
    assert literal("<a href='x'>\nb</a>") == "&lt;a href='x'&gt; b&lt;/a&gt;"
    assert len(literal("x" * 100)) == 40
    assert readable("lora_alpha") == "alpha"
    assert readable("my_knob") == "my knob"


def contrast(one: str, other: str) -> float:
    def light(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((light(one), light(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_words_can_be_read_by_day_by_night_and_anywhere() -> None:
    """WCAG 2.2 asks 4.5 of text; of text on either paper, the most that there can be is 4.6."""
    for theme, paper in ((LIGHT, style.PAPER), (DARK, style.NIGHT_PAPER)):
        assert contrast(theme.layout.font.color, paper) > 7
        assert contrast(theme.layout.xaxis.color, paper) > 4.5
    assert min(contrast(ANY.layout.font.color, paper) for paper in ("#FFFFFF", "#121212")) > 4
