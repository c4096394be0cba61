"""How many trials share a GPU: as many as keep it busy, as fit, and as a search can still learn from."""

from spaces.space import SearchSpace
from sweep.batch_split import BatchLimit, effective_batches
from sweep.budget import REFERENCE_BATCH
from trials.protocol import Ready

MOST = 16
# Times that a search should see results before its last trials begin.
ROUNDS = 3


def trials_at_once(ready: Ready, limit: BatchLimit, space: SearchSpace, begins: int) -> int:
    """Trials that each GPU trains at once.

    Args:
        ready: What was measured of model and GPU.
        limit: How the batch of a trial alone is split.
        space: Whose batches are run; the middle one is reckoned with.
        begins: Trials that each GPU is to do, all rounds together.
    """
    if ready.busy_tokens is None:
        return 1
    batches = effective_batches(space) or (REFERENCE_BATCH,)
    rows = min(limit.rows, batches[len(batches) // 2])
    tokens = max(1.0, rows * float(str(ready.data["mean_tokens"])))
    wanted = round(ready.busy_tokens / tokens)
    return max(1, min(wanted, MOST, limit.fitting // rows, begins // ROUNDS))


def packing_note(trials: int, ready: Ready) -> str:
    """What a user is told of it; nothing of one trial a GPU."""
    if trials == 1:
        return ""
    return (
        f"{trials} trials share each pass on a GPU, which is busy from about {ready.busy_tokens:,} tokens a pass on "
        "(measured). One at a time: TRIALS_PER_GPU=1"
    )
