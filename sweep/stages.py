"""Which stages to train in, by how much data there is of either kind (guide 4.3). Knows no files and no studies."""

from dataclasses import dataclass
from typing import Literal

from sweep.errors import SweepError

# Guide 4.3: "Large domain data (> 1 M)", "Small domain data (< 10 k)".
LARGE, SMALL = 1_000_000, 10_000

Data = Literal["domain", "instructions", "generic"]


@dataclass(frozen=True)
class Stage:
    """One stage of training, which is a study of its own.

    Attributes:
        space: The shipped space that fits it.
        data: What it is trained on: the domain's texts, the instructions, or a generic instruction set.
        why: What it is for, with the guide's section.
    """

    space: str
    data: Data
    why: str

    @property
    def stage(self) -> str:
        """LLaMA-Factory's name of it."""
        return "pt" if self.data == "domain" else "sft"


@dataclass(frozen=True)
class Way:
    """Stages one after the other.

    Attributes:
        name: What people call it.
        stages: In their order.
        why: Why this way.
    """

    name: str
    stages: tuple[Stage, ...]
    why: str


PRE_TRAINING = Stage("pt_lora", "domain", "adds the domain's knowledge by small steps (guide 4.1)")
# 3.2 has spaces for little and for much data, but no number of rows that would choose between them; 4.2's ranks span
# both.
INSTRUCTIONS = Stage("sft_lora", "instructions", "teaches the format of the answers (guide 4.2)")
GENERIC = Stage("sft_lora", "generic", "restores the instruction ability on a generic instruction set (guide 4.3)")


def plan_stages(domain_rows: int, instruction_rows: int) -> tuple[Way, ...]:
    """The stages that suit the data (guide 4.3).

    Args:
        domain_rows: Rows of plain text of the domain.
        instruction_rows: Rows of chats: questions with their answers.

    Returns:
        One way, or two where the guide leaves open which is better: that which is to be tried first comes first.

    Raises:
        SweepError: A number is negative, or there is no data at all.
    """
    for name, rows in (("domain", domain_rows), ("instruction", instruction_rows)):
        if rows < 0:
            raise SweepError(f"the number of {name} rows is {rows}; allowed: a whole number of at least 0")
    if not domain_rows and not instruction_rows:
        raise SweepError("no rows, so no stage: give the number of domain rows, of instruction rows, or files of them")
    if not instruction_rows:
        return (
            Way(
                "pre-training, then SFT on a generic instruction set",
                (PRE_TRAINING, GENERIC),
                "domain data only (guide 4.3)",
            ),
        )
    if not domain_rows:
        why = "instructions only, which the guide leaves open (4.3): read as small domain data, of which there is none"
        return (Way("SFT alone", (INSTRUCTIONS,), why),)
    if domain_rows > LARGE:
        why = f"large domain data, of more than {LARGE:,} rows, and instructions (guide 4.3)"
        return (Way("pre-training, then SFT", (PRE_TRAINING, INSTRUCTIONS), why),)
    if domain_rows < SMALL:
        why = f"small domain data, of fewer than {SMALL:,} rows, and instructions (guide 4.3)"
        return (Way("SFT alone", (INSTRUCTIONS,), why),)
    return (
        Way("SFT alone", (INSTRUCTIONS,), "first, as it is the cheaper one"),
        Way("pre-training, then SFT", (PRE_TRAINING, INSTRUCTIONS), "if its loss on the instructions is lower"),
    )
