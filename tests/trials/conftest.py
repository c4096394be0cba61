"""The tiny model and its data, made once a session."""

from pathlib import Path

import pytest
import torch

from tests.tiny import make_tiny_chats, make_tiny_model
from tests.trials.tiny_runs import ROWS
from trials.data import DataSpec, PreparedData, prepare_data
from trials.model import BaseModel, load_base


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny Llama."""
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def tiny_chats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of 36 chats."""
    return make_tiny_chats(tmp_path_factory.mktemp("chats") / "chats.jsonl", rows=36)


@pytest.fixture(scope="session")
def tiny_base(tiny_folder: Path) -> BaseModel:
    """Return the tiny Llama in fp32. Whoever puts an adapter on it takes it off again."""
    torch.set_num_threads(1)
    return load_base(tiny_folder, "tiny", "fp32")


@pytest.fixture(scope="session")
def tiny_data(tiny_base: BaseModel, tiny_chats: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    """Return 24 training and 12 evaluation rows."""
    spec = DataSpec(str(tiny_chats), "sft", cutoff_len=128, max_samples=ROWS, val_size=12, seed=0)
    return prepare_data(spec, tiny_base.tokenizer, tiny_base.tokenizer_fingerprint, tmp_path_factory.mktemp("cache"))
