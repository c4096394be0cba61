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

# Paper: what is neither a series nor a state.
INK: Final = "#222222"
FAINT: Final = "#6B6B6B"
GRID: Final = "#E4E4E4"

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
