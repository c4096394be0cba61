"""What a trial's training needs of a device's memory: reckoned before it starts, corrected by what was measured.

A reckoning is rough; what has once run out of memory is known, and nothing that needs as much is tried in its study.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import optuna

from trials.config import TrialConfig
from trials.protocol import DeviceFacts, Limits, ModelFacts
from trials.report import Report

# Numbers of the hidden size that a token leaves in a layer for the backward pass.
KEPT_BY_A_LAYER = 20
# A weight of the adapter in fp32, its gradient, and AdamW's two moments.
BYTES_A_WEIGHT = 16
# The logits of a chunk of labels in fp32, and their gradient (`trials.losses.CHUNK_LOGITS`).
CHUNK_BYTES = 2 * 4 * (1 << 23)
# The study's user attribute of what was learnt, by device.
MEMORY = "memory"


def token_bytes(model: ModelFacts, *, checkpointing: bool | None = None) -> int:
    """Bytes of activations that a token leaves for the backward pass.

    With gradient checkpointing a layer keeps its input alone, and what it leaves else is there for the one layer that
    is computed again.

    Args:
        model: The base model.
        checkpointing: None for as the base is loaded.
    """
    width = 2 if model.dtype == "bf16" else 4
    again = model.gradient_checkpointing if checkpointing is None else checkpointing
    kept = model.layers + KEPT_BY_A_LAYER if again else KEPT_BY_A_LAYER * model.layers
    return kept * model.hidden_size * width


def trainable_weights(model: ModelFacts, config: TrialConfig) -> int:
    """Weights of a LoRA adapter."""
    return config.lora_rank * sum(model.linear_sizes.get(target, 0) for target in config.lora_target)


def needed_bytes(model: ModelFacts, config: TrialConfig, tokens: int, *, checkpointing: bool | None = None) -> int:
    """What a trial is reckoned to need beside the base model, with so many tokens in a pass."""
    activations = tokens * token_bytes(model, checkpointing=checkpointing)
    return BYTES_A_WEIGHT * trainable_weights(model, config) + activations + CHUNK_BYTES


@dataclass
class Memory:
    """What is known of a study's memory on one device.

    Attributes:
        ratio: Most that was measured, in shares of what was reckoned; 1 while nothing is.
        short: The least reckoned need, at its smallest, of a trial that ran out of memory; None while none did.
        limits: To what workers had to cut passes, so that no other one tries more.
    """

    ratio: float = 1.0
    short: int | None = None
    limits: Limits = field(default_factory=Limits)

    @classmethod
    def of(cls, study: optuna.Study, device: str) -> "Memory":
        """What the study has learnt so far."""
        known = study.user_attrs.get(MEMORY, {}).get(device, {})
        return cls(known.get("ratio", 1.0), known.get("short"), Limits(**known.get("limits", {})))

    def keep(self, study: optuna.Study, device: str) -> None:
        """Stores it with the study, for later sessions; joined with what another machine has stored meanwhile."""
        self._join(self.of(study, device))
        known: dict[str, Any] = study.user_attrs.get(MEMORY, {})
        learnt = {"ratio": self.ratio, "short": self.short, "limits": asdict(self.limits)}
        study.set_user_attr(MEMORY, {**known, device: learnt})

    def misfit(self, model: ModelFacts, device: DeviceFacts, config: TrialConfig) -> str:
        """Why a trial cannot be trained on the device, however its batch is split; empty if it can, or may."""
        need = self._smallest(model, config)
        what = f"rank {config.lora_rank} on {len(config.lora_target)} kinds of layers and rows of {config.cutoff_len}"
        if self.short is not None and need >= self.short:
            return f"{what} tokens need as much memory as a trial that ran out of it"
        if need * self.ratio > device.free_bytes:
            return (
                f"{what} tokens are reckoned to need {_gigabytes(need * self.ratio)} beside the model, one row at a "
                f"time, and {_gigabytes(device.free_bytes)} are free"
            )
        return ""

    def narrowed(self, limits: Limits) -> bool:
        """Learns to what passes had to be cut; whether that is new."""
        joined = self.limits.joined(limits)
        new = joined != self.limits
        self.limits = joined
        return new

    def ran_out(self, model: ModelFacts, config: TrialConfig) -> None:
        """Learns that a trial ran out of memory at its smallest."""
        self._join(Memory(short=self._smallest(model, config)))

    def measured(self, model: ModelFacts, device: DeviceFacts, config: TrialConfig, sharing: int, last: Report) -> bool:
        """Learns from a trial's measured peak; whether it was higher than any before. Only GPUs measure a run's own.

        Args:
            model: The base model.
            device: What it had taken of the device alone.
            config: The trial's.
            sharing: Trials at once on the device, which are in the peak.
            last: The trial's newest report.
        """
        if not device.used_bytes or last.peak_memory_bytes <= device.used_bytes:
            return False
        tokens = config.per_device_train_batch_size * config.cutoff_len
        reckoned = sharing * needed_bytes(model, config, tokens)
        ratio = (last.peak_memory_bytes - device.used_bytes) / reckoned
        higher = ratio > self.ratio
        self.ratio = max(ratio, self.ratio)
        return higher

    def _join(self, other: "Memory") -> None:
        self.ratio = max(self.ratio, other.ratio)
        self.short = min((need for need in (self.short, other.short) if need is not None), default=None)
        self.limits = self.limits.joined(other.limits)

    def _smallest(self, model: ModelFacts, config: TrialConfig) -> int:
        return needed_bytes(model, config, config.cutoff_len, checkpointing=True)


def _gigabytes(count: float) -> str:
    return f"{count / (1 << 30):.1f} GB"
