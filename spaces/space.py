"""What may be tried: fixed, searched and derived knobs, constraints and start points, as one value."""

import functools
import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from spaces.checking import check_fields, check_space
from spaces.counting import count_settings
from spaces.expressions import Constraint, Expression
from spaces.messages import located
from spaces.ordering import evaluation_order
from spaces.overriding import override
from spaces.parameter import Parameter, Scalar

Fixed: TypeAlias = Scalar | Sequence[Scalar]


@dataclass(frozen=True)
class SearchSpace:
    """A search space; checked as it is made, and never changed afterwards.

    Attributes:
        name: What a study calls it: the file's name without its ending.
        description: What it is for, in a sentence or two.
        guide: Section of the tuning guide that it follows, such as "4.2"; empty for none.
        stage: "sft" (instruction fine-tuning) or "pt" (incremental pre-training).
        fixed: Knobs with one value.
        search: Knobs that the search turns, in the file's order.
        derived: Knobs reckoned from others.
        constraints: Conditions that a trial should meet.
        start: Points to try first: searched knobs and their values, complete or not.
        source: The path or the name it was loaded by, for messages; the name when left empty.
    """

    name: str
    description: str
    guide: str
    stage: str
    fixed: Mapping[str, Fixed]
    search: tuple[Parameter, ...]
    derived: Mapping[str, Expression] = field(default_factory=dict)
    constraints: tuple[Constraint, ...] = ()
    start: tuple[Mapping[str, Scalar], ...] = ()
    source: str = ""

    def __post_init__(self) -> None:
        if not self.source:
            object.__setattr__(self, "source", self.name)
        check_space(self)

    def walk(self, suggest: Callable[[Parameter], Scalar]) -> dict[str, Any]:
        """Go through the knobs, each after those it depends on, and give every one its value.

        A searched knob whose `when` does not hold takes its `else`, or is absent when it has none; `when`
        does not hold if it reads an absent knob. A derived knob that reads an absent knob is absent as well.

        Args:
            suggest: Says the value of a searched knob; called only for those that exist here.

        Returns:
            `stage` and every knob's value.

        Raises:
            SpaceError: An expression fails on these values.
        """
        values: dict[str, Any] = {"stage": self.stage}
        for name, value in self.fixed.items():
            values[name] = value if isinstance(value, (str, int, float)) else list(value)
        searched = self._searched
        for name in self._order:
            with located(f"{self.source}, {name}"):
                if name not in searched:
                    if self.derived[name].names <= values.keys():
                        values[name] = self.derived[name].evaluate(values)
                elif _holds(searched[name].when, values):
                    values[name] = suggest(searched[name])
                elif (otherwise := searched[name].otherwise) is not None:
                    values[name] = otherwise
        return values

    def violations(self, params: Mapping[str, Any]) -> dict[str, float]:
        """Say how far each constraint is missed: its name to a number, zero or less where it holds.

        Args:
            params: Knob values, as `walk` returns them. A constraint that reads an absent knob is left out.

        Raises:
            SpaceError: A constraint compares something that is not a number.
        """
        missed: dict[str, float] = {}
        for constraint in self.constraints:
            if constraint.names <= params.keys():
                with located(f"{self.source}, constraints.{constraint.name}"):
                    missed[constraint.name] = constraint.violation(params)
        return missed

    def override(self, assignments: Sequence[str], allowed: Collection[str] = ()) -> "SearchSpace":
        """Return the space with some knobs set anew.

        Each assignment is `knob=16` (fixes it), `knob=1e-5..1e-2` (searches a range) or `knob=8,16,32`
        (searches a choice; a target list within one option is written `q_proj+v_proj`). A knob that was
        derived loses its derivation, and a helper knob that nothing reads any more goes. Start points are
        carried along.

        Args:
            assignments: What to set.
            allowed: Training fields that may be set although the space does not have them. Whatever is not
                among them (nor among the guide's own knobs) counts as a helper.

        Raises:
            SpaceError: An unknown knob, a bad form, an inverted range, or one beyond the knob's limits.
        """
        return override(self, assignments, allowed)

    def check_fields(self, known: Collection[str]) -> None:
        """Refuse knobs that are neither a training field nor read by another knob or a constraint.

        Args:
            known: Names of the training fields.

        Raises:
            SpaceError: Such a knob, with the field that was probably meant.
        """
        check_fields(self, known)

    def settings(self) -> tuple[int, tuple[str, ...]]:
        """Count the distinct discrete settings, and name the continuous knobs; see `count_settings`."""
        return count_settings(self)

    def fingerprint(self) -> str:
        """Return 16 hex characters that differ when what may be tried differs.

        Names, wording, guide section, source, limits (they bound later widening only) and start points (they
        say what comes first) play no part, nor does the order of the knobs. The order of a choice's options
        does: Optuna refuses to go on with another one.
        """
        plain = self.to_dict()
        plain["search"] = {
            name: {key: value for key, value in spec.items() if key != "limits"}
            for name, spec in plain["search"].items()
        }
        for key in ("name", "description", "guide", "start"):
            del plain[key]
        plain["constraints"] = sorted(plain["constraints"].values())
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return the space as plain data: what its file holds, and its name."""
        return {
            "name": self.name,
            "description": self.description,
            "guide": self.guide,
            "stage": self.stage,
            "fixed": {
                name: value if isinstance(value, (str, int, float)) else list(value)
                for name, value in self.fixed.items()
            },
            "search": {knob.name: knob.spec() for knob in self.search},
            "derived": {name: expression.canonical for name, expression in self.derived.items()},
            "constraints": {constraint.name: constraint.canonical for constraint in self.constraints},
            "start": [dict(point) for point in self.start],
        }

    @functools.cached_property
    def _searched(self) -> dict[str, Parameter]:
        return {knob.name: knob for knob in self.search}

    @functools.cached_property
    def _order(self) -> tuple[str, ...]:
        return evaluation_order(self.search, self.derived)


def _holds(when: Expression | None, values: Mapping[str, Any]) -> bool:
    if when is None:
        return True
    return when.names <= values.keys() and bool(when.evaluate(values))
