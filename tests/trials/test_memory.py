"""Runs, one after another in one process, leave nothing behind."""

import gc
from pathlib import Path

import torch

from tests.trials.tiny_runs import run_to_end, tiny_config
from trials.data import PreparedData
from trials.model import BaseModel


def tensors() -> int:
    """Count the tensors that are alive in this process."""
    gc.collect()
    # By type and not with isinstance, which asks lazy modules and proxies for their class and so wakes them.
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def test_fifty_runs_leave_no_tensors_and_no_modules(
    tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    counts = []
    for number in range(50):
        config = tiny_config(max_rows=16, evaluations=1, seed=number, lora_rank=1 + number % 4, lora_dropout=0.1)
        (report,) = run_to_end(config, tiny_base, tiny_data, tmp_path / str(number))
        assert report.step == 2
        if number in (4, 20, 49):  # counting takes longer than a run; the first few fill caches
            counts.append((tensors(), len(list(tiny_base.model.modules()))))
    assert counts[0] == counts[1] == counts[2]
