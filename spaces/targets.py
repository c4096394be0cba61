"""Named sets of target modules (guide 4.5), resolved on the linear modules that a model really has."""

from collections.abc import Collection, Sequence

from spaces.errors import SpaceError
from spaces.messages import did_you_mean, listed, shortened

# One projection that holds query, key and value together: Phi-3 and CodeGen, GPT-2, NeoX/BLOOM/Falcon,
# MPT/DBRX, InternLM2, Baichuan.
FUSED = ("qkv_proj", "c_attn", "query_key_value", "Wqkv", "wqkv", "W_pack")

# "all" is every linear module there is. GPT-2 calls the output projections of both its attention and its MLP
# c_proj, so leaf names cannot tell them apart: c_proj is in "all" alone, and a set never trains what its name
# denies.
TARGET_SETS: dict[str, tuple[str, ...]] = {
    "qv": ("q_proj", "v_proj", "query", "value", *FUSED),
    "attention": (
        *("q_proj", "k_proj", "v_proj", "query", "key", "value", *FUSED),
        *("o_proj", "out_proj", "wo"),  # output: Llama, GPT-J and OPT, InternLM2
        "dense",  # output: NeoX, BLOOM, Falcon, Phi-2
    ),
    "mlp": (
        *("gate_proj", "up_proj", "down_proj", "gate_up_proj"),  # Llama, Qwen, Mistral, Gemma, Phi-3
        *("fc1", "fc2", "fc_in", "fc_out", "c_fc"),  # OPT and Phi-2, GPT-J, GPT-2
        *("dense_h_to_4h", "dense_4h_to_h"),  # NeoX, BLOOM, Falcon
        *("w1", "w2", "w3"),  # InternLM2, Qwen 1, Mixtral's experts
    ),
    "all": (),
}


def resolve_target(target: str | Sequence[str], module_names: Collection[str]) -> tuple[str, ...]:
    """Say which of a model's linear modules get an adapter.

    Args:
        target: A named set (qv, attention, mlp, all), module names joined by + or commas, or a list of
            either.
        module_names: Leaf names of the model's linear modules, without the output head; such as q_proj.

    Returns:
        Leaf names, sorted, each once.

    Raises:
        SpaceError: A set or a module that the model has nothing of.
    """
    given = [target] if isinstance(target, str) else list(target)
    parts = [part.strip() for item in given for part in str(item).replace("+", ",").split(",")]
    if not parts:
        raise _no_match(target, "", module_names)
    found: set[str] = set()
    for part in parts:
        matches = _matches(part, module_names)
        if not matches:
            raise _no_match(target, part, module_names)
        found |= matches
    return tuple(sorted(found))


def _matches(part: str, module_names: Collection[str]) -> set[str]:
    if part == "all":
        return set(module_names)
    if part in TARGET_SETS:
        return set(TARGET_SETS[part]) & set(module_names)
    return {part} & set(module_names)


def _no_match(target: str | Sequence[str], part: str, module_names: Collection[str]) -> SpaceError:
    whole = target if isinstance(target, str) else "+".join(map(str, target))
    where = f" ({shortened(part)})" if part != whole else ""
    near = did_you_mean(part, {*module_names, *TARGET_SETS})
    return SpaceError(
        f"lora_target {shortened(whole)}{where} matches no module of this model.{near} "
        f"Its linear modules: {listed(sorted(module_names))}; named sets: {listed(TARGET_SETS)}"
    )
