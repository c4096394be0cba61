"""Numbers and ranges in words, as a space file would hold them."""

from collections.abc import Sequence


def number(value: float) -> str:
    """A number as a space file would hold it: 0.001 as 1e-3, 12 as 12."""
    if value and (abs(value) < 0.01 or abs(value) >= 1e5):
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}"


def span(bounds: Sequence[float]) -> str:
    """A range: "1e-4..2e-4"."""
    return f"{number(bounds[0])}..{number(bounds[1])}"
