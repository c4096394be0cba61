"""What a space may say of a quantised base, and what is said of one."""

from dataclasses import replace

import pytest

from spaces.load import list_spaces, load_space
from spaces.space import SearchSpace
from sweep.errors import SweepError
from sweep.plan import check_searched
from sweep.quantization import asked_bits, precision, quantization_note
from sweep.study import Identity
from tests.sweep.fakes import BUDGET, make_plan, make_ready, make_space
from trials.protocol import Ready

WITH_PISSA = "search:\n  pissa_init: {choice: [true, false]}\n"


def quantised_space(bits: object, more: str = "") -> SearchSpace:
    return make_space(f"stage: sft\nfixed: {{quantization_bit: {bits}}}\n{more}")


def ready(bits: int | None = None, why: str = "") -> Ready:
    plain = make_ready()
    model = replace(plain.model, quantization_bit=bits, not_quantized=why)
    return replace(plain, model=model)


@pytest.mark.parametrize(("written", "bits"), [(4, 4), (8, 8), (0, None), ("auto", "auto")])
def test_what_a_space_may_say(written: object, bits: object) -> None:
    assert asked_bits(quantised_space(written)) == bits


def test_a_space_that_says_nothing_has_a_plain_base() -> None:
    assert asked_bits(make_space()) is None


@pytest.mark.parametrize("written", ["3", "true", "none", "4.5"])
def test_what_it_may_not_say(written: str) -> None:
    with pytest.raises(SweepError) as error:
        asked_bits(quantised_space(written))
    assert str(error.value).startswith("demo.yaml has quantization_bit ")
    assert str(error.value).endswith("allowed: 0 (off), 4, 8, auto (4 where that runs on a GPU)")


@pytest.mark.parametrize("bits", [4, 8, "auto"])
@pytest.mark.parametrize(
    "text",
    [
        "search:\n  pissa_init: {choice: [false, true]}\n",
        "search:\n  r: {choice: [1, 2]}\n  pissa_init: {choice: [false], when: r > 1, else: true}\n",
    ],
)
def test_pissa_on_a_quantised_base_is_refused_before_anything_is_loaded(bits: object, text: str) -> None:
    with pytest.raises(SweepError, match=f"pissa_init true with quantization_bit {bits}; PiSSA takes") as error:
        asked_bits(quantised_space(bits, text))
    assert "--set quantization_bit=0 or --set pissa_init=false" in str(error.value)


def test_pissa_that_is_fixed_is_refused_too_and_without_quantisation_is_not() -> None:
    space = quantised_space(4).override(["pissa_init=true"], allowed=["pissa_init"])
    with pytest.raises(SweepError, match="PiSSA"):
        asked_bits(space)
    assert asked_bits(quantised_space(0, WITH_PISSA)) is None


@pytest.mark.parametrize(("bits", "refused"), [(4, False), ("auto", False), (8, True)])
def test_dora_goes_with_four_bits_alone(bits: object, refused: bool) -> None:
    space = quantised_space(bits, "search:\n  use_dora: {choice: [true, false]}\n")
    if refused:
        with pytest.raises(SweepError, match="use_dora true with quantization_bit 8; DoRA measures"):
            asked_bits(space)
    else:
        assert asked_bits(space) == bits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("search: {quantization_bit: {choice: [4, 8]}}", "searches quantization_bit.*--set quantization_bit=4"),
        ("search: {n: {choice: [1, 2]}}\nderived: {quantization_bit: 4 * n}", "derives quantization_bit"),
        ("search: {n: {choice: [1, 2]}}\nderived: {cutoff_len: 64 * n}", "derives cutoff_len"),
    ],
)
def test_what_all_trials_share_is_neither_searched_nor_derived(text: str, message: str) -> None:
    with pytest.raises(SweepError, match=message):
        check_searched(make_space(f"stage: sft\n{text}\n"))


def test_of_the_shipped_spaces_low_memory_quantises_where_it_can() -> None:
    assert [(space.name, asked_bits(space)) for space in list_spaces() if asked_bits(space)] == [("low_memory", "auto")]


@pytest.mark.parametrize(("word", "bits"), [("4", 4), ("0", None), ("8", 8)])
def test_low_memory_can_be_told_on_the_command_line(word: str, bits: int | None) -> None:
    assert asked_bits(load_space("low_memory").override([f"quantization_bit={word}"])) == bits


@pytest.mark.parametrize("bits", [4, 8, None])
def test_a_trials_settings_have_what_was_really_done(bits: int | None) -> None:
    space = quantised_space("auto", "search: {lora_rank: {choice: [8]}}\n")
    plan = make_plan(space, ready=ready(bits))
    assert plan.config(space.walk(lambda parameter: 8)).quantization_bit == bits


@pytest.mark.parametrize(("bits", "words"), [(None, ""), (4, "4-bit nf4"), (8, "8-bit")])
def test_a_precision_has_a_name(bits: int | None, words: str) -> None:
    assert precision(ready(bits).model) == precision({"quantization_bit": bits}) == words


def test_a_base_that_could_not_be_quantised_is_noted_with_the_reason() -> None:
    note = "the base is not quantised (quantization_bit: auto): no bitsandbytes"
    assert quantization_note(ready(why="no bitsandbytes").model) == note
    assert quantization_note(ready(4).model) is None


@pytest.mark.parametrize(
    ("before", "now", "told"),
    [
        (ready(4), ready(None, "no bitsandbytes"), "(tiny (4-bit nf4), now tiny (not quantised, as no bitsandbytes))"),
        (ready(None), ready(4), "(tiny, now tiny (4-bit nf4))"),
        (ready(4), ready(8), "(tiny (4-bit nf4), now tiny (8-bit))"),
    ],
)
def test_a_study_on_another_precision_differs_and_says_how(before: Ready, now: Ready, told: str) -> None:
    stored, current = (Identity.of(make_space(), BUDGET, 7, is_of) for is_of in (before, now))
    assert current.differences(stored.to_dict()) == [f"another model {told}"]


def test_a_study_from_before_there_was_quantisation_had_a_plain_base() -> None:
    stored = Identity.of(make_space(), BUDGET, 7, ready()).to_dict()
    for key in ("quantization_bit", "not_quantized"):
        del stored["model"][key]
    assert Identity.of(make_space(), BUDGET, 7, ready()).differences(stored) == []
    assert Identity.of(make_space(), BUDGET, 7, ready(4)).differences(stored) != []
