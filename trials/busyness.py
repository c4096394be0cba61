"""How many tokens a pass must have to keep a device busy: measured, as it differs by model and device."""

import time
from itertools import cycle

import torch

from trials.batches import collate, join
from trials.config import TrialConfig
from trials.data import PreparedData
from trials.lora import LoraWeights
from trials.losses import label_losses
from trials.memory import free_unused, is_out_of_memory
from trials.model import BaseModel, linear_modules
from trials.passing import around
from trials.shares import Share

FEWEST, MOST = 256, 32768  # tokens that are tried
# A pass of twice the tokens that does not train so many times as many a second is not worth its memory.
WORTH = 1.15
REPEATS = 3


def busy_tokens(base: BaseModel, data: PreparedData) -> int:
    """The tokens of a pass from which on twice as many are hardly trained faster, or no longer fit.

    Args:
        base: Whose forward and backward pass is timed, with an adapter on every linear module.
        data: Whose training rows are taken, over and over where there are few.
    """
    config = TrialConfig(lora_target=linear_modules(base.model), lora_rank=16)
    weights = LoraWeights(base.model, config, "")
    tokens, rate = FEWEST, 0.0
    while tokens <= MOST:
        try:
            faster = tokens_a_second(base, data, weights, tokens)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            break
        if faster < WORTH * rate:
            break
        tokens, rate = 2 * tokens, faster
    free_unused()
    return max(FEWEST, tokens // 2)


def tokens_a_second(base: BaseModel, data: PreparedData, weights: LoraWeights, tokens: int) -> float:
    """Training tokens a second in passes of so many: the best of several, as another process can only slow one."""
    rows, parts, taken = data.train, [], 0
    for index in cycle(range(len(rows))):
        if taken >= tokens:
            break
        parts.append(collate(rows, [index]))
        taken += parts[-1].tokens
    batch = join(parts).to(base.device)
    seconds = []
    for _ in range(REPEATS + 1):  # the first warms up
        _wait(base)
        started = time.perf_counter()
        with around(base, batch, [Share(weights, 0, batch.tokens)]):
            torch.autograd.backward(label_losses(base, batch).sum())
        _wait(base)
        seconds.append(time.perf_counter() - started)
        for weight in weights.trainable().values():
            weight.grad = None
    return batch.tokens / min(seconds[1:])


def _wait(base: BaseModel) -> None:
    if base.device.type == "cuda":
        torch.cuda.synchronize(base.device)
