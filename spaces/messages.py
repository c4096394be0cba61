"""Wording that every error of this room shares: where it is, and what was probably meant."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from spaces.errors import SpaceError


@contextmanager
def located(where: str) -> Iterator[None]:
    """Put a place, such as `my.yaml, search.lora_rank`, in front of any SpaceError raised inside.

    Args:
        where: The file, and the knob where there is one.

    Raises:
        SpaceError: The one raised inside, with its place.
    """
    try:
        yield
    except SpaceError as error:
        raise SpaceError(f"{where}: {error}") from error


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """Say ` Did you mean lora_rank?` with a leading space, or nothing when no option is near."""
    near = difflib.get_close_matches(name, sorted(options), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def listed(names: Iterable[object]) -> str:
    """Join names with commas, in the order given."""
    return ", ".join(str(name) for name in names)


def shortened(value: object, width: int = 80) -> str:
    """Show a value as Python writes it, cut so that a message stays within two lines."""
    # A huge value need not be written out whole first: text is cut before it is quoted.
    shown = repr(value[: width + 1]) if isinstance(value, str) else repr(value)
    return shown if len(shown) <= width else shown[: width - 1] + "…"
