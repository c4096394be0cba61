"""A space in the making: what `--set` and `extends` change before a new space is checked and built."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spaces.checking import knob_names, names_read
from spaces.errors import SpaceError
from spaces.expressions import Constraint, Expression
from spaces.messages import listed, shortened
from spaces.parameter import Parameter

if TYPE_CHECKING:
    from spaces.space import SearchSpace

# Never taken for helpers, which go when nothing reads them any more: the guide's own knobs and the training
# fields of trials/config.py, which this room may not import (tests/test_rooms.py compares the two).
FIELDS = (
    *("learning_rate", "lr_scheduler_type", "warmup_ratio", "num_train_epochs", "val_size", "cutoff_len"),
    *("lora_rank", "lora_alpha", "lora_target", "lora_dropout", "quantization_bit"),
    *("use_rslora", "use_dora", "pissa_init", "loraplus_lr_ratio"),
    *("effective_batch_size", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("stage", "weight_decay", "max_grad_norm", "max_rows", "evaluations", "early_stopping_patience", "seed"),
)


@dataclass
class Draft:
    """What may still change of a space."""

    stage: str
    fixed: dict[str, Any]
    search: dict[str, Parameter]
    derived: dict[str, Expression]
    constraints: dict[str, Constraint]

    @classmethod
    def of(cls, space: "SearchSpace") -> "Draft":
        """Begins with all that a space has."""
        return cls(
            space.stage,
            dict(space.fixed),
            {knob.name: knob for knob in space.search},
            dict(space.derived),
            {constraint.name: constraint for constraint in space.constraints},
        )

    def remove(self, name: str) -> None:
        """Take a knob out, wherever it is."""
        for place in (self.fixed, self.search, self.derived):
            place.pop(name, None)

    def build(self, space: "SearchSpace", **changes: str) -> "SearchSpace":
        """Return the space with the draft's knobs, and without start points.

        Args:
            space: Whose name and wording it keeps.
            changes: Name, source or wording that it does not keep.

        Raises:
            SpaceError: The space makes no sense as a whole.
        """
        return dataclasses.replace(
            space,
            stage=self.stage,
            fixed=dict(self.fixed),
            search=tuple(self.search.values()),
            derived=dict(self.derived),
            constraints=tuple(self.constraints.values()),
            start=(),
            **changes,
        )


def without_orphans(
    made: "SearchSpace", draft: Draft, read_before: set[str], given: Mapping[str, str], keep: set[str]
) -> "SearchSpace":
    """Drop helper knobs that some expression read before and none reads now, until no more turn up.

    Args:
        made: The space as the draft has it.
        draft: Loses the helpers as well.
        read_before: Knobs that the old space's expressions read.
        given: Knobs that the user has just set, and the text that did.
        keep: Knobs that are no helpers.

    Raises:
        SpaceError: The user has just set such a helper.
    """
    while True:
        orphans = (read_before & set(knob_names(made))) - names_read(made) - keep
        if not orphans:
            return made
        for name in orphans:
            if name in given:
                others = listed(other for other in given if other != name)
                raise SpaceError(
                    f"{made.source}, set {shortened(given[name])}: it has no effect, "
                    f"because nothing reads {name} any more once {others} is set"
                )
            draft.remove(name)
        made = draft.build(made)
