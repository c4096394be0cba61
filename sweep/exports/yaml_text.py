"""YAML with comments, as people would write it: sections of fields, each under its comments."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from sweep.progress import one_line

Section = tuple[Sequence[str], Mapping[str, Any]]  # comments, and the fields below them


def yaml_text(sections: Sequence[Section]) -> str:
    """Sections in their order, with an empty line between; those without comments and fields are left out."""
    return "\n".join(_section(comments, values) for comments, values in sections if comments or values)


def comment_lines(comments: Sequence[str]) -> str:
    """Comments, a line each, whatever line breaks and control characters are in them."""
    return "".join(f"# {one_line(comment)}\n" for comment in comments)


def _section(comments: Sequence[str], values: Mapping[str, Any]) -> str:
    return comment_lines(comments) + "".join(_field(key, value) for key, value in values.items())


def _field(key: str, value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        dumped = _dumped(value, None)
        return f"{key}:\n" + "".join(f"  {line}\n" for line in dumped.splitlines())
    return f"{key}: {_scalar(value)}\n"


def _scalar(value: Any) -> str:
    if isinstance(value, float) and not isinstance(value, bool):
        # YAML 1.1 reads 1e-05 as text: it wants a point in the number.
        text = f"{value:.6g}"
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    return _dumped(value, True).removesuffix("...\n").strip()


def _dumped(value: Any, flow: bool | None) -> str:
    """YAML of one value; what cannot be seen is spelt out, as some of it would end a line."""
    seen = json.dumps(value, ensure_ascii=False, default=str).isprintable()
    dumped: str = yaml.safe_dump(value, default_flow_style=flow, sort_keys=False, width=10_000, allow_unicode=seen)
    return dumped
