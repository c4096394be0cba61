"""Rows one after another in one sequence, for models of many kinds: each as it is alone, or told that it cannot be."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional

from trials import losses as losses_module
from trials import row_attention
from trials.batches import MicroBatch, collate
from trials.losses import label_losses, laid
from trials.model import BaseModel
from trials.passes import find_passes
from trials.token_rows import TokenRows

SMALL = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
LLAMA_LIKE = SMALL | {"intermediate_size": 48, "num_key_value_heads": 2, "initializer_range": 0.2}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
# Whether rows can be joined, and whether logits are the output layer's alone.
KINDS: dict[str, tuple[str, dict[str, Any], bool, bool]] = {
    "llama": ("Llama", LLAMA_LIKE, True, True),
    "qwen2": ("Qwen2", LLAMA_LIKE, True, True),
    "qwen3": ("Qwen3", LLAMA_LIKE | {"head_dim": 8}, True, True),
    "mixture of experts": ("Qwen3Moe", LLAMA_LIKE | EXPERTS | {"head_dim": 8}, True, True),
    "sliding window": ("Mistral", LLAMA_LIKE | {"sliding_window": 4}, True, True),
    "alternating windows": ("Gemma3Text", LLAMA_LIKE | {"head_dim": 8, "sliding_window": 4}, True, True),
    "factor on the logits": ("Granite", LLAMA_LIKE | {"logits_scaling": 4.0}, True, False),
    "capped attention": ("Gemma2", LLAMA_LIKE | {"head_dim": 8}, False, False),
    "learnt positions": ("GPT2", {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4}, True, True),
    "positions from the mask": ("Bloom", {"vocab_size": 97, "hidden_size": 32, "n_layer": 2, "n_head": 4}, False, True),
    "a state": ("Mamba", {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}, False, True),
}


def make(name: str, settings: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**settings)
    config.use_cache = False
    made = transformers.AutoModelForCausalLM.from_config(config).requires_grad_(False).eval()
    with torch.no_grad():  # as if it were trained: fresh weights hardly tell one context from another
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return made


class NoTokenizer:
    pad_token_id = 0


def base_of(model: Any, tiny_base: BaseModel) -> BaseModel:
    return dataclasses.replace(tiny_base, model=model, tokenizer=NoTokenizer(), passes=find_passes(model))


def some_rows(lengths: tuple[int, ...] = (9, 3, 6, 1)) -> TokenRows:
    generator = np.random.default_rng(0)
    ids = generator.integers(1, 97, sum(lengths)).astype(np.int32)
    return TokenRows(ids, generator.random(len(ids)) < 0.6, np.cumsum([0, *lengths]))


def alone(model: Any, rows: TokenRows, index: int) -> torch.Tensor:
    """Return a row's losses at its labels, by the model's own attention and all its logits."""
    ids = torch.from_numpy(rows.ids(index).astype(np.int64))
    labels = torch.from_numpy(np.array(rows.is_label(index)))[1:]
    with torch.no_grad():
        logits = model(input_ids=ids[None]).logits[0, :-1]
    return functional.cross_entropy(logits.float(), ids[1:], reduction="none")[labels]


@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.parametrize(("name", "settings", "joined", "plain"), KINDS.values(), ids=KINDS)
def test_a_row_among_others_has_the_losses_that_it_has_alone(
    tiny_base: BaseModel,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    settings: dict[str, Any],
    joined: bool,
    plain: bool,
    side_by_side: bool,
) -> None:
    monkeypatch.setattr(row_attention._Rows, "side_by_side", side_by_side)
    model, rows = make(name, settings), some_rows()
    base = base_of(model, tiny_base)
    assert (base.passes.joined, base.passes.plain_output) == (joined, plain)
    batch = collate(rows, range(4))
    with torch.no_grad(), laid(base, batch):
        found = label_losses(base, batch)
    wanted = torch.cat([alone(model, rows, index) for index in range(4)])
    assert len(wanted) > 5
    assert torch.allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "settings", "drops"),
    [
        ("Llama", LLAMA_LIKE, False),
        ("Llama", LLAMA_LIKE | {"attention_dropout": 0.1}, True),
        ("GPT2", {"vocab_size": 97, "n_embd": 32, "n_layer": 1, "n_head": 4}, True),
    ],
)
def test_dropout_of_a_models_own_is_found(name: str, settings: dict[str, Any], drops: bool) -> None:
    assert find_passes(make(name, settings)).own_dropout == drops


def test_looking_leaves_the_model_as_it_was() -> None:
    model = make("Llama", LLAMA_LIKE)
    find_passes(model)
    assert model.config._attn_implementation == "sdpa"
    assert not model.training
    assert not any(module._forward_pre_hooks for module in model.modules())


# --- the output layer


def hidden_gradient(base: BaseModel, batch: MicroBatch, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the losses, and the gradient of their weighted sum at the embeddings."""
    embeddings = base.model.get_input_embeddings()
    seen: list[torch.Tensor] = []

    def keep(_: Any, __: Any, out: torch.Tensor) -> torch.Tensor:
        seen.append(out.detach().requires_grad_())
        return seen[-1]

    hook = embeddings.register_forward_hook(keep)
    try:
        with laid(base, batch):
            losses = label_losses(base, batch)
            torch.autograd.backward(losses, weights)
    finally:
        hook.remove()
    assert seen[0].grad is not None
    return losses.detach(), seen[0].grad


@pytest.mark.parametrize("chunk", [1, 97 * 3, 1 << 23])
def test_losses_in_chunks_and_their_gradients_are_those_of_all_logits(
    tiny_base: BaseModel, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    base = base_of(make("Llama", LLAMA_LIKE), tiny_base)
    whole = dataclasses.replace(base, passes=dataclasses.replace(base.passes, plain_output=False))
    batch = collate(some_rows(), range(4))
    weights = torch.linspace(-1, 2, batch.labels)
    wanted = hidden_gradient(whole, batch, weights)
    monkeypatch.setattr(losses_module, "CHUNK_LOGITS", chunk)
    found = hidden_gradient(base, batch, weights)
    assert torch.allclose(found[0], wanted[0], atol=1e-5)
    assert torch.allclose(found[1], wanted[1], atol=1e-5)
    assert float(wanted[1].abs().max()) > 1e-3


def test_no_more_logits_are_made_than_a_chunk_of_labels(tiny_base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rows of every product with the output layer's weights."""
    base = base_of(make("Llama", LLAMA_LIKE), tiny_base)
    batch, made = collate(some_rows(), range(4)), list[int]()
    linear = functional.linear

    def count(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if weight.shape[0] == 97:
            made.append(x.numel() // x.shape[-1])
        return linear(x, weight, bias)

    monkeypatch.setattr(functional, "linear", count)
    monkeypatch.setattr(losses_module, "CHUNK_LOGITS", 3 * 97)
    with torch.no_grad(), laid(base, batch):
        label_losses(base, batch)
    assert sum(made) == batch.labels < batch.tokens
    assert max(made) == 3
