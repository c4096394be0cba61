"""Values that break readers: numbers at the edge of every type, text in the guise of numbers, and what is deep."""

from typing import Any

from hypothesis import strategies as st

EDGES: tuple[Any, ...] = (
    *(0, -0.0, 1, -1, 2, 3, 16, 10**6, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**18, 10**18 + 1, 10**40, 10**400),
    *(1e-4, 1e-300, 5e-324, 1e308, -1e308, 0.1, float("nan"), float("inf"), float("-inf")),
    *(True, False, None, "", " ", "~", "null", "nan", "inf", "-.inf", ".nan", "1e999", "0x1F", "1_000", "1:30", "0o7"),
    *("2024-01-01", "2024-13-45", "2001-12-14t21:59:43.10-05:00", "yes", "cosine", "sft", "pt", "all", "qv", "q_proj"),
    *("=", "<<", "*a", "&a", "!!python/object:os.system", "\x00", "\x1b[31m", "[red]", "$x^$", "../../etc", "\ud800"),
    *("a\nb", "a\u2028b", "ä", "🦙", "'", '"', "--help", "%s%n", "x" * 300, "1" * 5000, "9**9**9**9"),
)
edges: st.SearchStrategy[Any] = st.sampled_from(EDGES)
scalars: st.SearchStrategy[Any] = st.one_of(edges, st.text(max_size=12), st.integers(), st.floats())
# Lists and mappings of them, wrong in every place at which one of them is expected.
anything: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(st.text(max_size=8), edges), inner, max_size=4)
    ),
    max_leaves=8,
)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value within a value of lists and mappings, itself first."""
    if isinstance(value, dict):
        inner = [place for key, item in value.items() for place in places(item, (*here, key))]
    elif isinstance(value, list):
        inner = [place for index, item in enumerate(value) for place in places(item, (*here, index))]
    else:
        inner = []
    return [here, *inner]


@st.composite
def spoilt(draw: st.DrawFn, value: Any, most: int = 3) -> Any:
    """A value of which some places are replaced, taken out, doubled or called something else."""
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.sampled_from(places(value)))
        if not place:
            continue
        holder = value
        for key in place[:-1]:
            holder = holder[key]
        key = place[-1]
        match draw(st.sampled_from(("replace", "replace", "edge", "remove", "rename", "double"))):
            case "replace":
                holder[key] = draw(anything)
            case "edge":
                holder[key] = draw(edges)
            case "remove":
                del holder[key]
            case "rename" if isinstance(holder, dict):
                new = draw(st.one_of(st.text(max_size=8), edges))
                holder[new] = holder.pop(key)
            case "double" if isinstance(holder, list):
                holder.insert(key, holder[key])
            case _:
                holder[key] = [holder[key]]
    return value
