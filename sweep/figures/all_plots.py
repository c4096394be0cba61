"""All plots that a study has something to show in."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweep.comparison import Comparison
from sweep.figures.comparison import comparison_plot
from sweep.figures.cost import cost_against_loss
from sweep.figures.curves import learning_curves
from sweep.figures.heat_map import rank_and_alpha
from sweep.figures.plot import Plot
from sweep.figures.rates import loss_by_rate
from trials.curve import LearningCurve


def all_plots(
    rows: Sequence[Mapping[str, Any]],
    curves: Mapping[int, LearningCurve],
    machines: Mapping[int, str | None],
    comparisons: Sequence[Comparison],
    most_curves: int | None = None,
) -> list[Plot]:
    """The plots of a study; those with nothing to show are left out.

    Args:
        rows: Rows of `sweep_trials`.
        curves: Each trial's curve, by its number.
        machines: The machine that each trial ran on.
        comparisons: Of one knob each.
        most_curves: Learning curves that are drawn; None for all.
    """
    plots = [
        learning_curves(rows, curves, most_curves),
        loss_by_rate(rows),
        rank_and_alpha(rows),
        *(comparison_plot(comparison) for comparison in comparisons),
        *cost_against_loss(rows, curves, machines),
    ]
    return [plot for plot in plots if plot is not None]
