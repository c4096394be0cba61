"""Space files of any content: read and used as a sweep would, or refused in a line."""

import contextlib
import copy
import io
import json
import random
from pathlib import Path
from typing import Any

import optuna
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spaces.load import LIBRARY, load_space
from spaces.parameter import Choice, Parameter, Scalar
from spaces.reading import read_space
from spaces.space import SearchSpace
from sweep.asked import asked_budget, asked_slots, make_design
from sweep.commands import space_command
from sweep.field_values import check_values
from sweep.options import SweepOptions
from sweep.plan import KNOBS, check_searched, ranges
from sweep.quantization import asked_bits
from tests.fuzz.bounds import OURS, fuzzed, refusing
from tests.fuzz.values import anything, spoilt
from tests.sweep.fakes import make_plan

SHIPPED = {path.stem: path.read_text(encoding="utf8") for path in sorted(LIBRARY.glob("*.yaml"))}
PLAIN: dict[str, Any] = {name: yaml.safe_load(text) for name, text in SHIPPED.items()}
FRAGMENTS = (
    *("&a ", "*a", "<<: *a\n", "!!python/name:os.system ", "!tag ", "? ", "- ", ": ", "[", "]", "{", "}", "|", ">"),
    *("\t", "\x00", "\x85", "\ufeff", "---\n", "...\n", "%YAML 9.9\n", "#", "'", '"', "\\x", '"\\U7fffffff"', "@", "`"),
    *("extends: sft_lora\n", "when: 1", "0x" + "f" * 300, "1" * 5000, "1e999", ".nan", "derived:\n  x: x\n"),
)
# Operators, names and constants in any order, and brackets around them.
_atoms = st.sampled_from(
    (
        "lora_rank",
        "lora_alpha",
        "x",
        "1",
        "-2",
        "0",
        "9",
        "1e308",
        "10**16",
        "'a'",
        "True",
        "None",
        "[8, 16]",
        "()",
        "1j",
    )
)
expressions = st.one_of(
    st.text(max_size=40),
    st.recursive(
        _atoms,
        lambda inner: st.one_of(
            st.tuples(
                inner,
                st.sampled_from(("+", "-", "*", "/", "//", "%", "**", "==", "<", ">=", " in ", " is ", " and ", ",")),
                inner,
            ).map("".join),
            inner.map(lambda text: f"({text})"),
            inner.map(lambda text: f"-{text}"),
            inner.map(lambda text: f"not {text}"),
            st.tuples(st.sampled_from(("round", "int", "max", "min", "abs", "eval")), inner).map(
                "{0[0]}({0[1]})".format
            ),
        ),
        max_leaves=25,
    ),
)


def use(space: SearchSpace) -> None:
    """What commands and a sweep do with a space before any model is loaded, and what its trials draw."""
    json.dumps(space.to_dict())
    space.fingerprint()
    assert read_space(_written(space), space.name, "again").fingerprint() == space.fingerprint()
    options = SweepOptions(space=space.name, gpus="cpu", trials_per_gpu="1")
    space.check_fields(KNOBS)
    check_searched(space)
    check_values(space)
    asked_bits(space)
    budget = asked_budget(options, space, asked_slots(options))
    for design in ("tpe", "factorial"):
        with contextlib.suppress(*OURS):
            make_design(SweepOptions(space=space.name, design=design), space)
    ranges(space)
    plan = make_plan(space, budget)
    plan.check_targets()
    generator = random.Random(0)
    for _ in range(3):
        params = space.walk(lambda knob: _drawn(knob, generator))
        space.violations(params)
        plan.config(params)


def _written(space: SearchSpace) -> dict[str, Any]:
    return {key: value for key, value in space.to_dict().items() if key != "name"}


def _drawn(knob: Parameter, generator: random.Random) -> Scalar:
    """A value out of the distribution that Optuna is asked for."""
    if isinstance(knob, Choice):
        choices = optuna.distributions.CategoricalDistribution(knob.options).choices
        value = generator.choice(choices)
        assert value is not None
        return value
    return knob.nearest(generator.uniform(knob.low, knob.high)) or knob.low


def _try(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with refusing(), contextlib.redirect_stdout(io.StringIO()):
        space_command(str(path))
    with refusing():
        use(load_space(str(path)))


@fuzzed
@given(
    content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf8", "replace")))
)
def test_any_content(content: bytes, tmp_path: Path) -> None:
    _try(tmp_path / "any.yaml", content)


@fuzzed
@given(raw=anything)
def test_any_value(raw: Any, tmp_path: Path) -> None:
    _try(tmp_path / "value.yaml", yaml.safe_dump(raw, allow_unicode=True).encode("utf8", "surrogatepass"))


@fuzzed
@given(data=st.data())
def test_shipped_spaces_with_wrong_values_in_any_place(data: st.DataObject, tmp_path: Path) -> None:
    plain = data.draw(st.sampled_from(sorted(PLAIN)))
    raw = data.draw(spoilt(copy.deepcopy(PLAIN[plain])))
    _try(tmp_path / "spoilt.yaml", yaml.safe_dump(raw, sort_keys=False).encode("utf8", "surrogatepass"))


@fuzzed
@given(data=st.data())
def test_shipped_spaces_with_fragments_of_yaml_anywhere(data: st.DataObject, tmp_path: Path) -> None:
    text = SHIPPED[data.draw(st.sampled_from(sorted(SHIPPED)))]
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.sampled_from((0, 0, 1, 40))))
        text = text[:start] + data.draw(st.sampled_from(FRAGMENTS)) + text[end:]
    _try(tmp_path / "fragments.yaml", text.encode())


@fuzzed
@given(derived=expressions, when=expressions, constraint=expressions)
def test_expressions(derived: str, when: str, constraint: str, tmp_path: Path) -> None:
    raw = copy.deepcopy(PLAIN["sft_lora"])
    raw["derived"]["lora_alpha"] = derived
    raw["search"]["x"] = {"choice": [1, 2], "when": when, "else": 0}
    raw["constraints"] = {"c": constraint, "small": "x <= 2"}
    _try(tmp_path / "expressions.yaml", yaml.safe_dump(raw).encode("utf8", "surrogatepass"))
