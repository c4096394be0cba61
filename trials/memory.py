"""Peak memory of this process and its devices."""

import resource
import sys

import torch


def peak_memory_bytes() -> int:
    """Highest memory use since the start: of the GPUs when there are any, else of the process."""
    if torch.cuda.is_available():
        return sum(torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count()))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> None:
    """Starts the GPUs' peak anew, so that a run does not report its predecessor's."""
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            torch.cuda.reset_peak_memory_stats(index)
