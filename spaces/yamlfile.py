"""Strict YAML: what `yaml.safe_load` reads, less aliases, tags, duplicate keys and other surprises.

Numbers such as 1e-4 are read as numbers, as YAML 1.2 and every user do, though YAML 1.1 calls them text; 2:1
and 2024-01-01 stay text.
"""

import re
from typing import Any

import yaml

from spaces.errors import SpaceError
from spaces.evaluation import checked
from spaces.messages import located, shortened

LARGEST_FILE = 1_000_000  # bytes
DEEPEST = 20  # nested lists and mappings
EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", re.ASCII)
TAG = "tag:yaml.org,2002:"


class _StrictLoader(yaml.SafeLoader):
    """Composes nodes without aliases, anchors and tags; their values are built by `_plain`."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if getattr(event, "anchor", None) is not None:  # an alias event has one as well
            raise SpaceError(f"line {line}: anchors and aliases (& and *) are not allowed; write the value out")
        if getattr(event, "tag", None) is not None:
            raise SpaceError(f"line {line}: tags (!) are not allowed; write the plain value")
        if self.depth >= DEEPEST:
            raise SpaceError(f"line {line}: nested more than {DEEPEST} deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse_yaml(data: bytes) -> Any:
    """Read one YAML document into plain dicts, lists and scalars.

    Args:
        data: The file's bytes, UTF-8.

    Returns:
        The document; none when it is empty.

    Raises:
        SpaceError: Too large, not UTF-8, a syntax error, an alias, a tag, a key that is given twice or is not
            text.
    """
    if len(data) > LARGEST_FILE:
        raise SpaceError(f"larger than {LARGEST_FILE:,} bytes; a space file is a page of text")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SpaceError(f"line {line}: not UTF-8 text") from None
    try:
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        return None if node is None else _plain(loader, node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise SpaceError(f"{where}not YAML ({error.problem or error.context})") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpaceError(f"line {line}: a control character, U+{ord(text[error.position]):04X}") from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # PyYAML lets some errors of its own through, such as an escape beyond Unicode.
        raise SpaceError("not YAML") from None


def parse_scalar(text: str) -> str | int | float | bool | None:
    """Read one value as a space file would, such as 16, 1e-4, true or cosine; quotes make it text.

    Raises:
        SpaceError: A number that is not finite or beyond 10^18.
    """
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    loader = _StrictLoader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return _scalar(loader, yaml.ScalarNode(tag, text))


def _plain(loader: _StrictLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item) for item in node.value]
    if isinstance(node, yaml.ScalarNode):
        with located(f"line {node.start_mark.line + 1}"):
            return _scalar(loader, node)
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:  # no other kind of node exists
        line = key_node.start_mark.line + 1
        if key_node.tag != f"{TAG}str":
            shown = shortened(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "here"
            raise SpaceError(f"line {line}: the key {shown} is not a name")
        if key_node.value in mapping:
            raise SpaceError(f"line {line}: {shortened(key_node.value)} is given twice; keep one")
        mapping[key_node.value] = _plain(loader, value_node)
    return mapping


def _scalar(loader: _StrictLoader, node: yaml.ScalarNode) -> str | int | float | bool | None:
    kind = node.tag.removeprefix(TAG)
    text: str = node.value
    value: str | int | float | bool | None = text
    try:
        if kind == "null":
            value = None
        elif kind == "bool":
            value = bool(loader.construct_yaml_bool(node))
        elif kind == "int" and ":" not in text:  # 2:1 is a ratio to a reader, and 121 to YAML 1.1
            value = int(loader.construct_yaml_int(node))
        elif kind == "float" and ":" not in text:
            value = float(loader.construct_yaml_float(node))
        elif not node.style and EXPONENT.fullmatch(text):
            value = float(text)
    except ValueError:
        raise SpaceError(f"{shortened(text)} is not a number") from None
    checked(value)
    return value
