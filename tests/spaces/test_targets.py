from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spaces.errors import SpaceError
from spaces.targets import TARGET_SETS, resolve_target

LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PHI3 = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
GPT2 = ("c_attn", "c_proj", "c_fc")
NEOX = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")
GPTJ = ("q_proj", "k_proj", "v_proj", "out_proj", "fc_in", "fc_out")
MPT = ("Wqkv", "out_proj", "up_proj", "down_proj")


@pytest.mark.parametrize(
    ("modules", "qv", "attention", "mlp"),
    [
        (LLAMA, "q_proj v_proj", "k_proj o_proj q_proj v_proj", "down_proj gate_proj up_proj"),
        (PHI3, "qkv_proj", "o_proj qkv_proj", "down_proj gate_up_proj"),
        (GPT2, "c_attn", "c_attn", "c_fc"),
        (NEOX, "query_key_value", "dense query_key_value", "dense_4h_to_h dense_h_to_4h"),
        (GPTJ, "q_proj v_proj", "k_proj out_proj q_proj v_proj", "fc_in fc_out"),
        (MPT, "Wqkv", "Wqkv out_proj", "down_proj up_proj"),
    ],
)
def test_named_sets_on_real_models(modules: Sequence[str], qv: str, attention: str, mlp: str) -> None:
    assert resolve_target("qv", modules) == tuple(qv.split())
    assert resolve_target("attention", modules) == tuple(attention.split())
    assert resolve_target("mlp", modules) == tuple(mlp.split())
    assert resolve_target("all", modules) == tuple(sorted(modules))


def test_qv_is_within_attention_and_attention_apart_from_mlp() -> None:
    assert set(TARGET_SETS["qv"]) <= set(TARGET_SETS["attention"])
    assert not set(TARGET_SETS["attention"]) & set(TARGET_SETS["mlp"])


@pytest.mark.parametrize(
    "target",
    [
        "q_proj+v_proj",
        "v_proj,q_proj",
        " q_proj + v_proj ",
        ["q_proj", "v_proj"],
        ("v_proj", "q_proj", "q_proj"),
        "qv",
    ],
)
def test_every_way_to_write_two_modules(target: str | Sequence[str]) -> None:
    assert resolve_target(target, LLAMA) == ("q_proj", "v_proj")


def test_sets_and_modules_add_up() -> None:
    assert resolve_target("qv+down_proj", LLAMA) == ("down_proj", "q_proj", "v_proj")
    assert resolve_target("attention+mlp", LLAMA) == resolve_target("all", LLAMA)


def test_a_module_that_is_not_there_is_refused_and_guessed() -> None:
    with pytest.raises(SpaceError) as error:
        resolve_target("q_proj+v_prj", LLAMA)
    assert str(error.value) == (
        "lora_target 'q_proj+v_prj' ('v_prj') matches no module of this model. Did you mean v_proj? "
        "Its linear modules: down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj; "
        "named sets: qv, attention, mlp, all"
    )


@pytest.mark.parametrize("target", ["x", "", "+", "q_proj+", "q_proj,,v_proj", [], [""]])
def test_what_matches_nothing_is_refused(target: str | list[str]) -> None:
    with pytest.raises(SpaceError, match="matches no module of this model"):
        resolve_target(target, LLAMA)


@pytest.mark.parametrize("target", list(TARGET_SETS))
def test_a_set_of_nothing_is_refused(target: str) -> None:
    modules = [] if target == "all" else ["conv"]
    with pytest.raises(SpaceError, match=f"lora_target '{target}' matches no module"):
        resolve_target(target, modules)


@given(st.text(max_size=30) | st.lists(st.text(max_size=8), max_size=4))
def test_any_target_gives_modules_of_the_model_or_a_space_error(target: str | list[str]) -> None:
    try:
        found = resolve_target(target, LLAMA)
    except SpaceError:
        return
    assert found
    assert set(found) <= set(LLAMA)
    assert list(found) == sorted(set(found))
