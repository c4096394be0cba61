"""A plot: a figure, and what it shows in words."""

import html
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import plotly.graph_objects as go

from sweep.figures.theme import LIGHT
from sweep.progress import one_line

MOST_SHOWN: Final = 40  # characters of a name in a plot
LOSS: Final = "evaluation loss, nats per token"

# What people call a knob; any other is called what it is, with spaces.
KNOBS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "lora_rank": "rank",
        "lora_alpha": "alpha",
        "alpha_ratio": "alpha : rank",
        "ratio": "alpha : rank",
        "lora_target": "target modules",
        "lora_dropout": "dropout",
        "learning_rate": "learning rate",
        "effective_batch_size": "batch size",
        "num_train_epochs": "epochs",
        "warmup_ratio": "warm-up share",
        "lr_scheduler_type": "schedule",
    }
)


@dataclass(frozen=True)
class Plot:
    """One plot of a study.

    Attributes:
        key: Names it in files and pages: letters and hyphens.
        title: For people.
        finding: What it shows, in a sentence or two.
        figure: Plotly's, without a title.
        height: In pixels, on a page.
    """

    key: str
    title: str
    finding: str
    figure: go.Figure
    height: int = 420


def new_figure(x: str, y: str, **layout: Any) -> go.Figure:
    """An empty figure in our style, with what its axes are called."""
    figure = go.Figure(layout={"template": LIGHT})
    figure.update_layout(xaxis_title_text=x, yaxis_title_text=y, **layout)
    return figure


def literal(name: object) -> str:
    """A name as plotly shows it letter by letter: it would take tags in it for its own."""
    text = one_line(str(name))
    return html.escape(text if len(text) <= MOST_SHOWN else text[: MOST_SHOWN - 1] + "…", quote=False)


def readable(knob: str) -> str:
    """What people call a knob."""
    return KNOBS.get(knob, one_line(knob.replace("_", " ")))


def counted(number: int, what: str) -> str:
    """A number of things, in words: "1 trial", "1,000 trials"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
