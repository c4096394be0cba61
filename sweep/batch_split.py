"""How an effective batch is split into rows that pass forward at once: by the guide, by memory, or as asked for."""

from dataclasses import dataclass

from spaces.parameter import Choice, Int
from spaces.space import SearchSpace
from sweep.batch_table import FEWEST_PARAMETERS, BatchRow, table_row
from sweep.budget import REFERENCE_BATCH
from sweep.memory import token_bytes
from trials.protocol import DeviceFacts, ModelFacts

BATCH = "effective_batch_size"
# On the CPU eight rows already keep the units busy, and fewer rows are padded less (measured).
MOST_CPU_ROWS = 8
MOST_TOLD = 4  # batches that a note goes through


@dataclass(frozen=True)
class BatchLimit:
    """How many rows may pass forward at once, and why.

    Attributes:
        rows: At most so many.
        reason: In words, for the header.
        fitting: Rows that memory is reckoned to hold.
        asked: What the user asked for; None when nothing.
        row: The guide's line for the device, where it is meant for such a device and model.
    """

    rows: int
    reason: str
    fitting: int
    asked: int | None = None
    row: BatchRow | None = None


def batch_limit(
    model: ModelFacts,
    device: DeviceFacts,
    cutoff_len: int,
    sharing: int = 1,
    asked: int | None = None,
    ratio: float = 1.0,
) -> BatchLimit:
    """What the user asked for; else the smaller of what memory holds and what the guide's table (3.3) has.

    The table is for GPUs and for models of its size; on the CPU and for smaller models memory alone decides, up to
    what keeps the CPU busy.

    Args:
        model: The base model, loaded.
        device: Its memory now that it is.
        cutoff_len: Tokens of a row.
        sharing: Trials at once on the device, which share its memory.
        asked: per_device_train_batch_size; None when not asked for.
        ratio: What was measured of a trial's memory, in shares of what was reckoned.
    """
    fitting = fitting_rows(model, device, cutoff_len, sharing, ratio)
    holds = f"memory is reckoned to hold {fitting}"
    row = None if device.name == "cpu" else table_row(device.memory_bytes / sharing)
    sized = row if model.parameters >= FEWEST_PARAMETERS else None
    if asked is not None:
        return BatchLimit(asked, "as asked for", fitting, asked, sized)
    if row is None:
        if fitting < MOST_CPU_ROWS:
            return BatchLimit(fitting, holds, fitting)
        return BatchLimit(MOST_CPU_ROWS, "more are no faster on the CPU", fitting)
    most = row.per_device[1]
    where = f"guide 3.3: {row.memory}{' a trial' if sharing > 1 else ''}"
    if sized is None:
        return BatchLimit(fitting, f"{holds}; {where} has {most}, for models of billions of parameters", fitting)
    if fitting < most:
        return BatchLimit(fitting, f"{holds}; {where} has up to {most}", fitting, row=row)
    return BatchLimit(most, where, fitting, row=row)


def fitting_rows(model: ModelFacts, device: DeviceFacts, cutoff_len: int, sharing: int = 1, ratio: float = 1.0) -> int:
    """Rows that memory is reckoned to hold in one forward pass; at least one.

    Half of the free memory is given to their activations, shared by the trials that run on the device at once.

    Args:
        model: The base model.
        device: Its memory.
        cutoff_len: Tokens of a row.
        sharing: Trials at once on the device.
        ratio: What was measured of a trial's memory, in shares of what was reckoned.
    """
    row = cutoff_len * token_bytes(model) * ratio
    return max(1, int(device.free_bytes / 2 / sharing / row))


def micro_batch(effective: int, rows: int) -> int:
    """Rows of one forward pass: the largest divisor of the effective batch that is no more than `rows`."""
    return max(size for size in range(1, min(effective, rows) + 1) if effective % size == 0)


def effective_batches(space: SearchSpace) -> tuple[int, ...]:
    """The effective batch sizes that a space tries, rising; empty when they are derived from other knobs."""
    if BATCH in space.derived:
        return ()
    for knob in space.search:
        if knob.name == BATCH and isinstance(knob, Choice | Int):
            values = {int(value) for value in knob.values()}
            return tuple(sorted(values if knob.otherwise is None else values | {int(knob.otherwise)}))
    return (int(str(space.fixed.get(BATCH, REFERENCE_BATCH))),)


def batch_line(limit: BatchLimit, space: SearchSpace) -> str:
    """What the header says of the split."""
    batches = effective_batches(space)
    if batches and batches[-1] <= limit.rows:
        return f"up to {batches[-1]} rows at once, whole batches ({limit.reason})"
    rows = f"{limit.rows} row{'' if limit.rows == 1 else 's'}"
    return f"at most {rows} at once ({limit.reason}), the rest by accumulation"


def batch_notes(limit: BatchLimit, space: SearchSpace) -> list[str]:
    """What a user should know of the split beside it: where it is not what was asked for, or not the guide's."""
    found, batches = [], effective_batches(space)
    if limit.asked is not None:
        uneven = [size for size in batches if size % limit.asked]
        if uneven:
            told = ", ".join(f"{size} takes {micro_batch(size, limit.rows)}" for size in uneven[:MOST_TOLD])
            more = ", …" if len(uneven) > MOST_TOLD else ""
            found.append(f"per_device_train_batch_size {limit.asked} does not divide every {BATCH}: {told}{more}")
        if limit.fitting < min([limit.asked, *batches[-1:]]):
            found.append(
                f"per_device_train_batch_size is {limit.asked}, but memory is reckoned to hold {limit.fitting}: "
                "it may run out"
            )
    most = limit.row.effective[1] if limit.row else None
    if limit.row and most and batches and batches[-1] > most:
        kept = ",".join(str(size) for size in batches if size <= most) if len(batches) <= MOST_TOLD else ""
        kept = kept or (str(most) if len(batches) == 1 else f"{batches[0]}..{most}")
        found.append(
            f"{BATCH} goes up to {batches[-1]}, the guide (3.3) to {most} with {limit.row.memory}. "
            f"To keep to it: --set {BATCH}={kept}"
        )
    return found
