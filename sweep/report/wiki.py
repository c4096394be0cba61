"""A report in Markdown, for a wiki: all that the page says, its plots in words."""

import re
from collections.abc import Iterable, Sequence

from sweep.markdown import literal
from sweep.report.content import Content, Sheet
from sweep.summary import Fact


def markdown(content: Content) -> str:
    """The whole report."""
    parts = [
        f"# {literal(content.study)}",
        literal(content.status),
        "## Answer",
        "\n\n".join(map(literal, content.answer)),
        "## What was asked",
        _facts(content.asked),
        _sheet(content.knobs),
        "## Trials",
        _sheet(content.ranking),
        "## Findings",
        _facts(content.facts) or "Nothing more yet.",
        *(f"### {literal(plot.title)}\n\n{literal(plot.finding)}" for plot in content.plots),
        *_section("## Comparisons", map(_sheet, content.comparisons)),
        *_section("## Confirmation", [_block(content.confirmed)] if content.confirmed else []),
        *_section("## Diagnosis and advice", [_sheet(content.diagnoses), "\n".join(_bullets(content.advice))]),
        "## Pruning",
        literal(content.pruning),
        *_section("## Failures", [_sheet(content.failures)]),
        "## Environment",
        _facts(content.environment),
        "## Training file",
        _block(content.training.splitlines(), "yaml") if content.training else literal(content.no_training),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(heading: str, parts: Iterable[str]) -> list[str]:
    """A heading with what stands under it; nothing where that is nothing."""
    found = [part for part in parts if part]
    return [heading, *found] if found else []


def _facts(facts: Sequence[Fact]) -> str:
    return "\n".join(f"- **{literal(label)}**: {literal(text)}" for label, text in facts)


def _bullets(lines: Sequence[str]) -> list[str]:
    return [f"- {literal(line)}" for line in lines]


def _sheet(sheet: Sheet) -> str:
    if not sheet.lines:
        return ""
    rows = [sheet.heading, tuple("---" for _ in sheet.heading), *sheet.lines]
    cells = [[cell if row is rows[1] else literal(cell) for cell in row] for row in rows]
    table = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    notes = "".join(f"\n\n{literal(note)}" for note in sheet.notes)
    return f"{literal(sheet.caption)}\n\n{table}{notes}"


def _block(lines: Sequence[str], language: str = "") -> str:
    """Lines as they stand, between fences that none of them can close."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])
