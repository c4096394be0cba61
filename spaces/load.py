"""Finds a space: one of those shipped by its name, or a YAML file by its path."""

import os
from pathlib import Path

from spaces.errors import SpaceError
from spaces.messages import did_you_mean, listed, located, shortened
from spaces.reading import read_space
from spaces.space import SearchSpace
from spaces.yamlfile import LARGEST_FILE, parse_yaml

LIBRARY = Path(__file__).parent / "library"
ENDINGS = (".yaml", ".yml")


def load_space(name_or_path: str) -> SearchSpace:
    """Load a shipped space by name, or any space by the path of its YAML file.

    What ends in .yaml or .yml, has a path separator or is an existing file counts as a path.

    Args:
        name_or_path: Such as `sft_lora` or `my/space.yaml`.

    Raises:
        SpaceError: No such space or file, or one that is not as it should be.
    """
    shipped = _shipped()
    if name_or_path in shipped:
        return _load(shipped[name_or_path], name_or_path)
    separators = [os.sep, *([os.altsep] if os.altsep else [])]
    path = os.path.expanduser(name_or_path)
    is_path = path.endswith(ENDINGS) or any(separator in path for separator in separators)
    if is_path or os.path.isfile(path):
        return _load(Path(path), name_or_path)
    near = did_you_mean(name_or_path, shipped)
    raise SpaceError(
        f"no space named {shortened(name_or_path)}.{near} Shipped: {listed(shipped)}. A path to a YAML file works too."
    )


def list_spaces() -> list[SearchSpace]:
    """Load every shipped space, in the order of their names.

    Raises:
        SpaceError: A shipped file is not as it should be.
    """
    return [_load(path, name) for name, path in _shipped().items()]


def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(LIBRARY.glob("*.yaml"))}


def _load(path: Path, source: str) -> SearchSpace:
    with located(source):
        # A directory or a pipe is no space file, and reading a pipe might never end.
        if not os.path.isfile(path):
            raise SpaceError("there is no such file")
        try:
            with path.open("rb") as file:
                data = file.read(LARGEST_FILE + 1)
        except OSError as error:
            raise SpaceError(f"cannot be read ({error.strerror})") from error
        raw = parse_yaml(data)
    return read_space(raw, path.stem, source)
