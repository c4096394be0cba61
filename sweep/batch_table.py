"""The guide's batch table (3.3): how many rows at once by a card's memory."""

from dataclasses import dataclass

GIB = 1 << 30
# A card says less than its name: CUDA reports 14.56 GiB of a T4's 16 GB, where error correction takes its part, and
# 39.4 of an A100's 40. A card has a row's memory from this share of it on.
REPORTED_SHARE = 0.9
# The guide names no model, but 8 GB at one row and 40 GB at eight are those of models of billions of parameters. To a
# smaller one the rows at once would only be a brake.
FEWEST_PARAMETERS = 1_000_000_000


@dataclass(frozen=True)
class BatchRow:
    """One line of the table; ranges include both ends.

    Attributes:
        gigabytes: The card's memory, by its name.
        per_device: Rows in one forward pass (`per_device_train_batch_size`).
        accumulation: Forward passes in one step (`gradient_accumulation_steps`).
        effective: Rows in one step.
        more: Whether it holds for more memory as well.
    """

    gigabytes: int
    per_device: tuple[int, int]
    accumulation: tuple[int, int]
    effective: tuple[int, int]
    more: bool = False

    @property
    def memory(self) -> str:
        """For people: "24 GB"."""
        return f"{self.gigabytes} GB{' and more' if self.more else ''}"


# Guide 3.3, "Suggested configurations per GPU memory", as it stands there.
TABLE = (
    BatchRow(8, per_device=(1, 1), accumulation=(8, 16), effective=(8, 16)),
    BatchRow(16, per_device=(1, 2), accumulation=(8, 16), effective=(8, 32)),
    BatchRow(24, per_device=(2, 4), accumulation=(4, 8), effective=(8, 32)),
    BatchRow(40, per_device=(4, 8), accumulation=(2, 4), effective=(8, 32), more=True),
)


def table_row(memory_bytes: float) -> BatchRow:
    """The last line whose memory a device has; the first one for a device that has less than all."""
    found = TABLE[0]
    for row in TABLE:
        if memory_bytes >= REPORTED_SHARE * row.gigabytes * GIB:
            found = row
    return found
