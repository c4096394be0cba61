"""A second real data set that every Python has: the standard library's functions, and what each does in a line."""

import ast
import sysconfig
from pathlib import Path

SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages"}
QUESTION = 28  # characters at most
ANSWER = (8, 40)  # characters, from and to


def signatures(library: Path | None = None) -> list[tuple[str, str]]:
    """Signatures of public functions and the first lines of their docstrings, read without importing anything.

    Args:
        library: Folder of Python files; None for the standard library.
    """
    library = library or Path(sysconfig.get_paths()["stdlib"])
    said: dict[str, str] = {}
    for path in sorted(library.rglob("*.py")):
        if SKIPPED.isdisjoint(path.relative_to(library).parts):
            said |= _of_file(path)
    return [(q, a) for q, a in said.items() if len(q) <= QUESTION and ANSWER[0] <= len(a) <= ANSWER[1]]


def _of_file(path: Path) -> dict[str, str]:
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError:  # files that are kept broken on purpose
        return {}
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            text = (ast.get_docstring(node) or "").strip()
            if text:
                found[f"{node.name}({ast.unparse(node.args)})"] = text.splitlines()[0]
    return found
