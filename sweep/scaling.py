"""Moves the guide's learning rates to fit a model that is smaller than those they are meant for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spaces.load import is_shipped
from spaces.moving import moved
from spaces.parameter import is_number
from spaces.space import SearchSpace
from sweep.numbers import number, span
from trials.protocol import ModelFacts
from trials.remedies import USUAL_RATE

KNOB = "learning_rate"
MODES = ("auto", "on", "off")

# The best learning rate goes with (width)^-0.78: the exponent of tinker-cookbook's `get_lr`, 0.781, fitted to Llama
# models (its Qwen models want hardly any, 0.0775; a range that is too far up is seen by its lower edge).
EXPONENT = 0.78
# Width of the models that the guide has in mind, of 7 to 8 billion parameters.
GUIDE_WIDTH = 4096
# "auto" moves nothing for a model of as many parameters, for which the guide speaks.
LARGE = 1e9


@dataclass(frozen=True)
class Scaling:
    """What was done to a space's learning rates.

    Attributes:
        space: The space to search.
        factor: By what they were multiplied; 1 when they were left.
        told: What was done, in words; empty when they were left.
        note: What the user should know before the search; None for nothing.
    """

    space: SearchSpace
    factor: float = 1.0
    told: str = ""
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as a study's identity keeps it."""
        return {"factor": self.factor, "told": self.told}


def may_scale(mode: str, name_or_path: str, assignments: Sequence[str]) -> bool:
    """Whether a space's learning rates may be moved; what is known before the model is.

    "auto" moves those that a shipped space states, "on" also those of a user's own file. What `--set` says is meant as
    it stands.

    Args:
        mode: One of `MODES`.
        name_or_path: The space.
        assignments: What `--set` says.
    """
    by_hand = any(text.split("=")[0].strip() == KNOB for text in assignments)
    return mode != "off" and not by_hand and (mode == "on" or is_shipped(name_or_path, KNOB))


def scale_learning_rate(space: SearchSpace, mode: str, model: ModelFacts) -> Scaling:
    """Moves a space's learning rates by the model's width.

    Args:
        space: Whose learning rates may be moved.
        mode: "auto" or "on".
        model: The base model.
    """
    factor = width_factor(model)
    if factor == 1 or (mode == "auto" and model.parameters >= LARGE):
        return Scaling(space)
    after = moved(space, KNOB, factor)
    if after is space:
        return Scaling(space)
    done = f"{_values(space)} moved to {_values(after)}{_cut(space, after)}"
    size = parameters(model)
    if mode == "on":
        why = f"learning rates are moved by your model's width ({model.hidden_size})"
    else:
        why = f"the guide's learning rates are for models of billions of parameters; yours has {size}"
    told = f"{done}, for a model of {size} parameters, {model.hidden_size} wide"
    return Scaling(after, factor, told, f"{why}: {done} (keep them with --scale-lr off)")


def width_factor(model: ModelFacts) -> float:
    """By how much a model's best learning rates lie above those of the models that the guide has in mind."""
    # Three digits: the same on every machine.
    return float(f"{(GUIDE_WIDTH / model.hidden_size) ** EXPONENT:.3g}")


def usual_learning_rate(model: ModelFacts) -> float:
    """The highest learning rate that is usual for LoRA on a model (guide 3.1), whatever its space states."""
    return USUAL_RATE * (1.0 if model.parameters >= LARGE else width_factor(model))


def parameters(model: ModelFacts) -> str:
    """A model's size: "135M"."""
    return next(
        f"{model.parameters / unit:.3g}{letter}"
        for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k"), (1, ""))
        if model.parameters >= unit
    )


def difference(before: float, now: float) -> str:
    """How two runs' factors differ, in words."""
    if now == 1:
        return f"learning rates moved by {before:g} to fit the model, now left as they are (--scale-lr)"
    if before == 1:
        return f"learning rates as the space has them, now moved by {now:g} to fit the model (not with --scale-lr off)"
    return f"learning rates moved by {before:g} to fit the model, now by {now:g}"


def _values(space: SearchSpace) -> str:
    """The knob's values in words: a range, options or one value."""
    spec = space.to_dict()["search"].get(KNOB)
    if spec is None:
        fixed = space.fixed[KNOB]
        return number(float(fixed)) if is_number(fixed) else str(fixed)
    return span(spec["float"]) if "float" in spec else ", ".join(map(number, spec["choice"]))


def _cut(before: SearchSpace, after: SearchSpace) -> str:
    """Which limit cut the moved range."""
    old, new = (space.to_dict()["search"].get(KNOB, {}) for space in (before, after))
    limits = new.get("limits", ())
    cut = [end for end in limits if end in new["float"] and end not in old["float"]]
    return f", cut at its limit {number(cut[0])}" if cut else ""
