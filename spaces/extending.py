"""A space file that says `extends`: its parent's knobs, less those that it writes itself."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spaces.checking import check_names, names_read
from spaces.drafting import FIELDS, Draft, without_orphans
from spaces.expressions import Constraint, Expression
from spaces.messages import located
from spaces.parameter import Parameter, Scalar
from spaces.space import SearchSpace
from spaces.starting import carry_start


@dataclass(frozen=True)
class Written:
    """What one space file says; none where it says nothing.

    Attributes are those of `SearchSpace`.
    """

    description: str | None
    guide: str | None
    stage: str | None
    fixed: Mapping[str, Any]
    search: tuple[Parameter, ...]
    derived: Mapping[str, Expression]
    constraints: tuple[Constraint, ...]
    start: tuple[Mapping[str, Scalar], ...] | None


def extend(parent: SearchSpace, written: Written, name: str, source: str) -> SearchSpace:
    """Return the parent with what the file writes in its place.

    A knob that the file writes, wherever, replaces the parent's, wherever that was. A searched knob is
    written whole: the parent's `when` and `limits` do not stay. A helper knob of the parent that nothing
    reads any more goes. Without start points of its own, the file takes the parent's, each value moved to
    the nearest one allowed now.

    Args:
        parent: The space that the file names under `extends`.
        written: What the file says.
        name: The new space's name.
        source: The file's path or name, for messages.

    Raises:
        SpaceError: A knob in two places of the file, or the two together make no sense.
    """
    own = [*written.fixed, *(knob.name for knob in written.search), *written.derived]
    with located(source):
        check_names(written.fixed, written.search, written.derived)
    draft = Draft.of(parent)
    for knob in own:
        draft.fixed.pop(knob, None)
        draft.derived.pop(knob, None)
    for knob in (*written.fixed, *written.derived):
        draft.search.pop(knob, None)
    draft.fixed |= written.fixed
    draft.search |= {knob.name: knob for knob in written.search}  # one that was searched keeps its place
    draft.derived |= written.derived
    draft.constraints |= {constraint.name: constraint for constraint in written.constraints}
    draft.stage = parent.stage if written.stage is None else written.stage
    made = draft.build(
        parent,
        name=name,
        source=source,
        description=parent.description if written.description is None else written.description,
        guide=parent.guide if written.guide is None else written.guide,
    )
    made = without_orphans(made, draft, names_read(parent), {}, {*FIELDS, *own})
    start = carry_start(parent, made) if written.start is None else written.start
    return dataclasses.replace(made, start=start)
