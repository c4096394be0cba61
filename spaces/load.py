"""Finds a space: one of those shipped by its name, or a YAML file by its path."""

import os
from pathlib import Path
from typing import cast

from spaces.errors import SpaceError
from spaces.messages import did_you_mean, listed, located, shortened
from spaces.reading import read_parent, read_space
from spaces.space import SearchSpace
from spaces.yamlfile import LARGEST_FILE, parse_yaml

LIBRARY = Path(__file__).parent / "library"
ENDINGS = (".yaml", ".yml")
DEEPEST = 8  # spaces that extend each other; more cannot be followed by a reader


def load_space(name_or_path: str) -> SearchSpace:
    """Load a shipped space by name, or any space by the path of its YAML file.

    What ends in .yaml or .yml, has a path separator or is an existing file counts as a path. A file's
    `extends` is read by the same rule, a relative path from the folder of the file that names it.

    Args:
        name_or_path: Such as `sft_lora` or `my/space.yaml`.

    Raises:
        SpaceError: No such space or file, or one that is not as it should be.
    """
    return _load(*_find(name_or_path))


def list_spaces() -> list[SearchSpace]:
    """Load every shipped space, in the order of their names.

    Raises:
        SpaceError: A shipped file is not as it should be.
    """
    return [_load(path, name) for name, path in _shipped().items()]


def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(LIBRARY.glob("*.yaml"))}


def _find(name_or_path: str, folder: Path | None = None) -> tuple[Path, str]:
    """Return the file of a space, and what messages call it; a relative path starts in `folder`, if given.

    Raises:
        SpaceError: A name of nothing.
    """
    shipped = _shipped()
    if name_or_path in shipped:
        return shipped[name_or_path], name_or_path
    separators = [os.sep, *([os.altsep] if os.altsep else [])]
    path = os.path.expanduser(name_or_path)
    is_path = path.endswith(ENDINGS) or any(separator in path for separator in separators)
    within = Path(path) if folder is None else folder / path
    if is_path or os.path.isfile(within):
        return within, name_or_path if folder is None else os.path.normpath(within)
    near = did_you_mean(name_or_path, shipped)
    raise SpaceError(
        f"no space named {shortened(name_or_path)}.{near} Shipped: {listed(shipped)}. A path to a YAML file works too."
    )


def is_shipped(name_or_path: str, knob: str) -> bool:
    """Tell whether a space has a knob from a shipped file, rather than from one of the user's own.

    A user's file that extends a shipped one has the shipped knobs that it does not write itself.

    Raises:
        SpaceError: No such space or file, or one that cannot be read.
    """
    for path, _, raw in _chain(*_find(name_or_path)):
        parts = [raw.get(part) for part in ("fixed", "search", "derived")] if isinstance(raw, dict) else []
        if any(knob in part for part in parts if isinstance(part, dict)):
            return path.resolve().parent == LIBRARY.resolve()
    return False


def _load(path: Path, source: str) -> SearchSpace:
    """Read a file and those that it extends, the farthest ancestor first."""
    space: SearchSpace | None = None
    for file, called, raw in reversed(_chain(path, source)):
        space = read_space(raw, file.stem, called, space)
    return cast("SearchSpace", space)  # a chain has one file at least


def _chain(path: Path, source: str) -> list[tuple[Path, str, object]]:
    """A file and those that it extends, itself first: each with what messages call it and what it holds."""
    chain: list[tuple[Path, str, object]] = []
    seen: list[str] = []
    while True:
        chain.append((path, source, _read(path, source)))
        seen.append(os.path.realpath(path))  # after reading, which refuses names that no file can have
        with located(source):
            named = read_parent(chain[-1][2])
        if named is None:
            return chain
        with located(f"{source}, extends"):
            path, source = _find(named, path.parent)
            # Said here as well as in _read, so that the file that names it is named.
            if not os.path.isfile(path):
                raise SpaceError(f"{source}: there is no such file")
            _check_chain([*(called for _, called, _ in chain), source], [*seen, os.path.realpath(path)])


def _check_chain(sources: list[str], real: list[str]) -> None:
    if real[-1] in real[:-1]:
        circle = " -> ".join(sources[real.index(real[-1]) :])
        raise SpaceError(f"spaces extend each other in a circle: {circle}")
    if len(sources) > DEEPEST:
        raise SpaceError(f"more than {DEEPEST} spaces that extend each other: {' -> '.join(sources)}")


def _read(path: Path, source: str) -> object:
    with located(source):
        # A directory or a pipe is no space file, and reading a pipe might never end.
        if not os.path.isfile(path):
            raise SpaceError("there is no such file")
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST_FILE + 1)
        except OSError as error:
            raise SpaceError(f"cannot be read ({error.strerror})") from error
        return parse_yaml(data)
