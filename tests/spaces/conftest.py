from collections.abc import Callable

import pytest

from spaces.reading import read_space
from spaces.space import SearchSpace
from spaces.yamlfile import parse_yaml


def _read(text: str) -> SearchSpace:
    return read_space(parse_yaml(text.encode()), "demo", "demo.yaml")


@pytest.fixture(scope="session")
def read() -> Callable[[str], SearchSpace]:
    """Reads a space from YAML text, as the file demo.yaml."""
    return _read


@pytest.fixture
def demo() -> SearchSpace:
    """A space with every kind of knob, a condition, a derivation, a constraint and a start point."""
    return _read(
        """
stage: sft
fixed: {lr_scheduler_type: cosine, lora_dropout: 0.0, cutoff_len: 1024}
search:
  learning_rate: {float: [1e-4, 2e-4], log: true, limits: [1e-6, 1e-1]}
  lora_rank: {choice: [8, 16, 32]}
  alpha_ratio: {choice: [1, 2], when: lora_rank <= 16, else: 1}
  lora_target: {choice: [qv, all]}
  num_train_epochs: {int: [2, 5]}
derived:
  lora_alpha: lora_rank * alpha_ratio
constraints:
  not_too_long: num_train_epochs * lora_rank <= 128
start:
  - {learning_rate: 1e-4, lora_rank: 8, alpha_ratio: 2, lora_target: all, num_train_epochs: 2}
"""
    )
