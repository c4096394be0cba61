"""What a diagnosis says of a curve: findings with evidence and remedies."""

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Change:
    """A setting to change: from what to what, in numbers if the value is known, else in relative words.

    Attributes:
        setting: LLaMA-Factory's name, or empty for a remedy that is no setting.
        before: The value at hand; None when not known.
        after: The value to try; None when only the words say it.
        words: The same as words: "half", "to 2".
    """

    setting: str
    words: str
    before: float | str | None = None
    after: float | str | None = None


@dataclass(frozen=True)
class Finding:
    """One state that a curve is in.

    Attributes:
        kind: "healthy", "oscillation", "under-fitting", "over-fitting", "stagnation", "divergence" or "too short to
            tell".
        evidence: In words and numbers, without a full stop.
        rule: The guide's sections that it follows.
        start: The step from which it holds; None when it holds of the whole.
        suspected: Whether something speaks for it that is no proof.
        numbers: The evidence as numbers, for programs.
        remedy: What to change, the most promising first.
    """

    kind: str
    evidence: str
    rule: str = "1.1"
    start: int | None = None
    suspected: bool = False
    numbers: dict[str, float] = field(default_factory=dict)
    remedy: tuple[Change, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """All that was found of one curve.

    Attributes:
        findings: At least one; the gravest first.
        notes: What is odd, but no state by itself.
        calm: Why it is no oscillation, in words; empty when it is one, or nothing can be said.
    """

    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    calm: str = ""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The findings' kinds."""
        return tuple(finding.kind for finding in self.findings)

    @property
    def sick(self) -> bool:
        """Whether anything is to be mended."""
        return not {"healthy", "too short to tell"} & set(self.kinds)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for programs."""
        return {
            "findings": [
                {
                    "kind": finding.kind,
                    "evidence": finding.evidence,
                    "guide": finding.rule,
                    "start_step": finding.start,
                    "suspected": finding.suspected,
                    "numbers": {name: _plain(value) for name, value in finding.numbers.items()},
                    "remedy": [
                        {
                            "setting": change.setting or None,
                            "before": change.before,
                            "after": change.after,
                            "words": change.words,
                        }
                        for change in finding.remedy
                    ],
                }
                for finding in self.findings
            ],
            "notes": list(self.notes),
        }


def _plain(value: float) -> float | None:
    """A number that strict JSON has; None for what it has not."""
    return float(value) if math.isfinite(value) else None
