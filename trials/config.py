"""Every setting of one LoRA run, with LLaMA-Factory's names, checked once and never changed."""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any

from trials.errors import ConfigError

STAGES = ("sft", "pt")
# The guide (3.1) recommends linear warm-up, then cosine. The names are transformers', but for step_decay, which it
# does not have (trials/schedule.py).
SCHEDULERS = ("cosine", "linear", "constant", "constant_with_warmup", "step_decay", "warmup_stable_decay")

QUANTIZATION_BITS = (4, 8)  # bitsandbytes', as in LLaMA-Factory
WHY_NOT_PISSA = "PiSSA takes its directions out of the base's weights, which quantised ones cannot give"
# PEFT asks for the dequantised weights, and with 8 bits that leaves the base without its scales (PEFT 0.21).
WHY_NOT_DORA = "DoRA measures the base's weights, which PEFT can do at 4 bits but not at 8"


@dataclass(frozen=True, kw_only=True)
class TrialConfig:
    """One run's settings. Field names are LLaMA-Factory's where it has the field.

    Attributes:
        stage: "sft" (loss on the assistant's tokens) or "pt" (loss on every token).
        lora_rank: Rank r of the two factors.
        lora_alpha: The adapter is scaled by lora_alpha / lora_rank.
        lora_target: Leaf names of the linear modules that get an adapter.
        lora_dropout: Share of the adapter's inputs set to zero in training, in [0, 1).
        use_rslora: The adapter is scaled by lora_alpha / sqrt(lora_rank) instead (arXiv 2312.03732).
        use_dora: The weights' magnitudes are trained apart from their directions (arXiv 2402.09353).
        pissa_init: The adapter begins as the base's main directions (arXiv 2404.02948).
        loraplus_lr_ratio: The B factors learn at learning_rate times this (LoRA+, arXiv 2402.12354); 0 for
            off, which LLaMA-Factory writes as none.
        quantization_bit: Bits of the base's linear weights, one of `QUANTIZATION_BITS` (QLoRA, arXiv 2305.14314);
            None for a base as it is.
        learning_rate: Peak rate of AdamW.
        lr_scheduler_type: One of `SCHEDULERS`.
        warmup_ratio: Share of all steps in which the rate rises linearly to its peak, in [0, 1).
        weight_decay: AdamW's decoupled decay.
        max_grad_norm: Gradients are clipped to this norm; 0 leaves them.
        num_train_epochs: Passes over the training rows.
        max_rows: Training rows after which the run ends, whatever `num_train_epochs` says; None for no
            limit. Rows, and not steps, so that batch sizes compare at equal data.
        per_device_train_batch_size: Rows in one forward pass (the micro-batch).
        gradient_accumulation_steps: Micro-batches in one optimizer step.
        cutoff_len: Tokens at which a row is cut.
        evaluations: Evaluations over the run, at equal fractions of its steps.
        early_stopping_patience: Evaluations without improvement after which the run ends; 0 for never.
        seed: Fixes the adapter's first weights, the order of the rows and dropout.
    """

    stage: str = "sft"
    lora_rank: int = 8
    lora_alpha: float = 16
    lora_target: tuple[str, ...] = ("q_proj", "v_proj")
    lora_dropout: float = 0.0
    use_rslora: bool = False
    use_dora: bool = False
    pissa_init: bool = False
    loraplus_lr_ratio: float = 0.0
    quantization_bit: int | None = None
    learning_rate: float = 1e-4
    lr_scheduler_type: str = "cosine"
    warmup_ratio: float = 0.1
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    num_train_epochs: float = 2.0
    max_rows: int | None = None
    per_device_train_batch_size: int = 1
    gradient_accumulation_steps: int = 16
    cutoff_len: int = 1024
    evaluations: int = 10
    early_stopping_patience: int = 5
    seed: int = 42

    def __post_init__(self) -> None:
        _one_of("stage", self.stage, STAGES)
        _one_of("lr_scheduler_type", self.lr_scheduler_type, SCHEDULERS)
        for name in (
            "lora_rank",
            "per_device_train_batch_size",
            "gradient_accumulation_steps",
            "cutoff_len",
            "evaluations",
        ):
            _whole(name, getattr(self, name), low=1)
        _whole("early_stopping_patience", self.early_stopping_patience, low=0)
        _whole("seed", self.seed, low=0)
        if self.max_rows is not None:
            _whole("max_rows", self.max_rows, low=1)
        for name in ("lora_alpha", "learning_rate", "num_train_epochs"):
            _number(name, getattr(self, name), low=0.0, open_low=True)
        for name in ("use_rslora", "use_dora", "pissa_init"):
            _flag(name, getattr(self, name))
        self._check_quantization()
        for name in ("weight_decay", "max_grad_norm", "loraplus_lr_ratio"):
            _number(name, getattr(self, name), low=0.0)
        for name in ("lora_dropout", "warmup_ratio"):
            _number(name, getattr(self, name), low=0.0, below=1.0)
        names = self.lora_target
        # Not a string, which would pass for a tuple of letters.
        if not isinstance(names, tuple) or not names or not all(isinstance(name, str) and name for name in names):
            raise ConfigError(f"lora_target is {names!r}; allowed: a tuple of at least one module's name")

    def _check_quantization(self) -> None:
        bits = self.quantization_bit
        if bits is None:
            return
        if isinstance(bits, bool) or bits not in QUANTIZATION_BITS:
            raise ConfigError(f"quantization_bit is {bits!r}; allowed: none, {', '.join(map(str, QUANTIZATION_BITS))}")
        if self.pissa_init:
            raise ConfigError(f"pissa_init is true and quantization_bit {bits}; {WHY_NOT_PISSA}")
        if self.use_dora and bits == 8:
            raise ConfigError(f"use_dora is true and quantization_bit 8; {WHY_NOT_DORA}")

    @property
    def effective_batch_size(self) -> int:
        """Rows in one optimizer step."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    def total_rows(self, train_rows: int) -> int:
        """Rows that the whole run sees, given how many distinct ones there are."""
        rows = max(1, round(self.num_train_epochs * train_rows))
        return rows if self.max_rows is None else min(rows, self.max_rows)

    def total_steps(self, train_rows: int) -> int:
        """Optimizer steps of the whole run; at least one."""
        return max(1, self.total_rows(train_rows) // self.effective_batch_size)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as it is written beside a trial."""
        return {**dataclasses.asdict(self), "lora_target": list(self.lora_target)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrialConfig":
        """The reverse of `to_dict`.

        Raises:
            ConfigError: A field is unknown or has a value that it cannot have.
        """
        unknown = sorted(set(values) - set(FIELDS))
        if unknown:
            raise ConfigError(f"unknown training fields: {', '.join(unknown)}. Known: {', '.join(FIELDS)}")
        target = values.get("lora_target", cls.lora_target)
        return cls(**{**values, "lora_target": tuple(target) if isinstance(target, list) else target})

    def fingerprint(self) -> str:
        """16 hex characters that differ when anything that changes the run's result differs.

        How a batch is split into micro-batches does not: a run may go on where another split fits.
        """
        values = {**self.to_dict(), "effective_batch_size": self.effective_batch_size}
        # 16 and 16.0 are one setting, but two spellings in JSON.
        values |= {field.name: float(values[field.name]) for field in dataclasses.fields(self) if field.type is float}
        del values["per_device_train_batch_size"], values["gradient_accumulation_steps"]
        text = json.dumps(values, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


FIELDS: tuple[str, ...] = tuple(field.name for field in dataclasses.fields(TrialConfig))


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name} is {value!r}; allowed: {', '.join(allowed)}")


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is {value!r}; allowed: true, false")


def _whole(name: str, value: object, *, low: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ConfigError(f"{name} is {value!r}; allowed: a whole number of at least {low}")


def _number(name: str, value: object, *, low: float, below: float = math.inf, open_low: bool = False) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not is_number or value < low or value >= below or (open_low and value == low):  # type: ignore[operator]
        bounds = f"a number {'above' if open_low else 'of at least'} {low:g}"
        bounds += f" and below {below:g}" if math.isfinite(below) else ""
        raise ConfigError(f"{name} is {value!r}; allowed: {bounds}")
