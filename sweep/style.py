"""One palette for the terminal, the curve pictures and the report: a colour keeps its meaning everywhere.

The colours are Okabe and Ito's (2008, "Color Universal Design"), which people with the common forms of colour
blindness tell apart. They are words of support: whatever a colour says, a word, a mark or a place says too.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

# The series of one picture: pairwise distinct, and dark enough for thin lines on white.
TRAINING: Final = "#0072B2"  # blue
EVALUATION: Final = "#D55E00"  # vermilion
LEARNING_RATE: Final = "#009E73"  # bluish green

# The states of a trial. No picture shows a state and a series as two lines of the same kind.
COMPLETE: Final = "#009E73"  # bluish green
PRUNED: Final = "#E69F00"  # orange
RUNNING: Final = "#56B4E9"  # sky blue
FAILED: Final = "#D55E00"  # vermilion
INTERRUPTED: Final = "#999999"  # the palette's grey
BEST: Final = "#CC79A7"  # reddish purple

# What is compared in one picture, level by level; each level has a mark of its own beside its colour.
LEVELS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
# From the lowest loss to the highest; even in lightness, so that it reads in grey too (Nuñez and others, 2018).
SCALE: Final = "Cividis"

# Paper: what is neither a series nor a state.
INK: Final = "#222222"
FAINT: Final = "#6B6B6B"
GRID: Final = "#E4E4E4"
PAPER: Final = "#FFFFFF"

# The same by night.
NIGHT_INK: Final = "#E8E8E8"
NIGHT_FAINT: Final = "#A3A3A3"
NIGHT_GRID: Final = "#35383D"
NIGHT_PAPER: Final = "#17191C"

# On a page whose paper is not known: readable on white and on black.
ANY_INK: Final = "#787878"
ANY_GRID: Final = "rgba(128,128,128,0.25)"

STATES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "running": RUNNING,
        "complete": COMPLETE,
        "pruned": PRUNED,
        "failed": FAILED,
        "interrupted": INTERRUPTED,
        "parked": INTERRUPTED,
    }
)
