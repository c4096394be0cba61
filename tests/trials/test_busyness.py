"""How many tokens keep a device busy, with its speed feigned; and once with the real one."""

import pytest
import torch

from tests.trials.tiny_runs import tiny_config
from trials import busyness
from trials.busyness import FEWEST, MOST, busy_tokens, tokens_a_second
from trials.data import PreparedData
from trials.lora import LoraWeights
from trials.model import BaseModel


def feign(monkeypatch: pytest.MonkeyPatch, rates: dict[int, float], short_from: int = 1 << 30) -> list[int]:
    """Lets a device train at these rates, the last of them for more; returns the sizes that are tried."""
    tried = list[int]()

    def rate(base: BaseModel, data: PreparedData, weights: LoraWeights, tokens: int) -> float:
        tried.append(tokens)
        if tokens >= short_from:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return rates.get(tokens, max(rates.values()))

    monkeypatch.setattr(busyness, "tokens_a_second", rate)
    return tried


def test_it_is_where_more_are_hardly_faster(
    tiny_base: BaseModel, tiny_data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = feign(monkeypatch, {256: 100, 512: 190, 1024: 300, 2048: 320})
    assert busy_tokens(tiny_base, tiny_data) == 1024
    assert tried == [256, 512, 1024, 2048]


def test_it_is_what_fits(tiny_base: BaseModel, tiny_data: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    feign(monkeypatch, {256: 1, 512: 2, 1024: 4}, short_from=1024)
    assert busy_tokens(tiny_base, tiny_data) == 512


def test_a_device_that_is_never_busy_is_not_tried_for_ever(
    tiny_base: BaseModel, tiny_data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = feign(monkeypatch, {256 << i: 2.0**i for i in range(20)})
    assert busy_tokens(tiny_base, tiny_data) == MOST
    assert tried[-1] == MOST


def test_at_least_the_fewest(tiny_base: BaseModel, tiny_data: PreparedData, monkeypatch: pytest.MonkeyPatch) -> None:
    feign(monkeypatch, {256: 100.0})
    assert busy_tokens(tiny_base, tiny_data) == FEWEST


def test_a_real_measurement_leaves_no_gradient(tiny_base: BaseModel, tiny_data: PreparedData) -> None:
    weights = LoraWeights(tiny_base.model, tiny_config(), "")
    assert tokens_a_second(tiny_base, tiny_data, weights, 1500) > 0
    assert all(weight.grad is None for weight in weights.trainable().values())
