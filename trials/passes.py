"""How rows can go through a base model: what is found out once, when it is loaded, by trying it."""

from dataclasses import dataclass
from typing import Any

import torch

from trials.grouped import works_grouped
from trials.row_attention import keeps_rows_apart


@dataclass(frozen=True)
class Passes:
    """What a base model can do.

    Attributes:
        joined: Whether rows may lie one after another in one sequence; else they lie side by side and are padded.
        plain_output: Whether its logits are its output layer's and nothing more.
        grouped: Whether several adapters at a layer are taken in products of groups: a GPU's way, in bf16.
        own_dropout: Whether it drops some of its own activations in training: by the process's generator of chance,
            which several runs cannot share.
    """

    joined: bool
    plain_output: bool
    grouped: bool
    own_dropout: bool


def find_passes(model: Any) -> Passes:
    """Finds out what a model in evaluation mode can do; nothing of it is changed."""
    weight = model.get_input_embeddings().weight
    return Passes(
        joined=keeps_rows_apart(model),
        plain_output=has_plain_output(model),
        grouped=weight.is_cuda and model.dtype == torch.bfloat16 and works_grouped(weight.device),
        own_dropout=has_own_dropout(model),
    )


def has_own_dropout(model: Any) -> bool:
    """Whether training a model as it is draws random numbers."""
    drops = any(isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules())
    # The attention's, which is no module where a fused product does it.
    return drops or bool(getattr(model.config.get_text_config(), "attention_dropout", 0))


def has_plain_output(model: Any) -> bool:
    """Whether a model's logits are its output layer's and nothing more (a cap, a factor); found by looking."""
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear or "forward" in head.__dict__:
        return False
    seen: list[torch.Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    ids = torch.zeros(1, 2, dtype=torch.long, device=model.get_input_embeddings().weight.device)
    try:
        with torch.no_grad():
            logits = model(input_ids=ids).logits
            return bool(len(seen) == 1 and seen[0].shape[:2] == ids.shape and torch.equal(logits, head(seen[0])))
    finally:
        hook.remove()
