"""Names of what a run keeps in its folder. Torch-free: the coordinator cleans up by them."""

# The adapter as it was at the best evaluation, in PEFT's format; and while it is being written.
ADAPTER, ADAPTER_WRITING = "adapter", "adapter.writing"
# The run's whole state at its newest evaluation, at the one before, and while it is being written.
CHECKPOINT, CHECKPOINT_BEFORE, CHECKPOINT_WRITING = "checkpoint", "checkpoint.before", "checkpoint.writing"
CHECKPOINTS = (CHECKPOINT, CHECKPOINT_BEFORE, CHECKPOINT_WRITING)
