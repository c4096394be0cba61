"""Memory of this process and its devices: the peak, and the room that passes have."""

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


# Tokens of one training pass on the CPU: more are no faster (the default model, one thread: 118 tokens a CPU second
# at 373 tokens, 103 to 122 at 1771) and take more memory.
CPU_TOKENS = 512
# What torch raises when memory is out; its CPU allocator has no class of its own.
OUT_OF_MEMORY = "can't allocate memory"


class Room:
    """How many tokens a pass on a device may have: learnt from what did not fit, and never tried again.

    Attributes:
        tokens: At most so many, unless a row alone has more; None while anything has fitted.
    """

    def __init__(self, device: torch.device) -> None:
        self.tokens: int | None = CPU_TOKENS if device.type == "cpu" else None

    def within(self, tokens: int) -> int:
        """The smaller of `tokens` and what there is room for."""
        return tokens if self.tokens is None else min(tokens, self.tokens)

    def halve(self, tokens: int) -> None:
        """Learns that a pass of so many tokens did not fit."""
        self.tokens = max(1, self.within(tokens // 2))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory is out."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and OUT_OF_MEMORY in str(error)
    )


def free_unused() -> None:
    """Gives the GPU memory that torch keeps for later back to the device."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
