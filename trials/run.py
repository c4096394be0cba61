"""One LoRA run: a resumable state machine that is iterated to get reports.

A run owns all that it changes: adapter, optimizer, schedule, place in the data, generator of chance. The base
model is shared and frozen. A run gives its next micro-batch (`next_micro_batch`) and takes what came of it
(`take`) as separate steps, so that whoever drives it decides which runs share a pass; `__iter__` drives a run alone.
"""

import dataclasses
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from trials.adapter_files import save_adapter
from trials.adapters import PeftAdapter
from trials.batches import MicroBatch, RowOrder, collate, label_count, split, window
from trials.checkpoint import load_checkpoint, save_checkpoint
from trials.config import TrialConfig
from trials.curve import LearningCurve
from trials.data import PreparedData
from trials.errors import ConfigError
from trials.lora import LoraWeights
from trials.memory import forget_peak, peak_memory_bytes
from trials.model import BaseModel
from trials.optimizers import make_optimizer
from trials.passing import mean_losses, pass_together
from trials.protocol import Moved
from trials.report import Report
from trials.schedule import report_steps
from trials.schedulers import make_scheduler

# What AdamW keeps of every weight beside the number of its steps.
MOMENTS = ("exp_avg", "exp_avg_sq")


class LoraRun:
    """A run in `folder`: its adapter and checkpoints are written there.

    Attributes:
        curve: The reports so far, those from before a resume included.
        early: Whether patience ran out before the horizon.
        total_steps: Optimizer steps of the whole run.
        window_labels: Label tokens of the current optimizer step, of all its micro-batches.
        passed_rows: Rows of the newest micro-batch.
        passed_tokens: Its tokens.
    """

    def __init__(self, config: TrialConfig, base: BaseModel, data: PreparedData, folder: Path) -> None:
        """Puts a fresh adapter on the base, or the checkpoint's when `folder` has one of this config.

        Raises:
            ConfigError: The base is quantised otherwise than the config says, or the adapter cannot be made.
        """
        _check_base(config, base)
        forget_peak()
        self.config, self.folder = config, folder
        self._base, self._data = base, data
        make = PeftAdapter if needs_base(config) else LoraWeights
        self._adapter: PeftAdapter | LoraWeights = make(base.model, config, base.reference)
        self._weights = self._adapter.trainable()
        self.total_steps = config.total_steps(len(data.train))
        self._report_steps = report_steps(self.total_steps, config.evaluations)
        self._order = RowOrder(len(data.train), config.seed)
        self._optimizer = make_optimizer(self._weights, config)
        self._scheduler = make_scheduler(
            config.lr_scheduler_type, self._optimizer, config.warmup_ratio, self.total_steps
        )
        self.curve = LearningCurve()
        self.step, self.tokens, self.early = 0, 0, False
        self._window: list[list[int]] = []
        self.window_labels = 0
        self.passed_rows = self.passed_tokens = 0
        self._loss_sum, self._label_sum = 0.0, 0
        self._step_loss, self._step_labels, self._step_tokens = 0.0, 0, 0
        self._rate, self._grad_norm = 0.0, 0.0
        self._seconds_before, self._started = 0.0, time.monotonic()
        self._step_started = self._started
        # For what the base itself drops, and DoRA and PiSSA, which are PEFT's own modules.
        torch.manual_seed(config.seed)
        self._resume()

    @property
    def trainable_parameters(self) -> int:
        """Weights of the adapter."""
        return sum(parameter.numel() for parameter in self._weights.values())

    def __iter__(self) -> Iterator[Report]:
        """Trains to the horizon; yields the reports from before a resume first, then each new one.

        Every report's checkpoint is on disk before the report is yielded.
        """
        yield from list(self.curve.reports)
        while not self.done:
            step = self.step
            while self.step == step:
                pass_together(self._base, [self])
            if self.is_due:
                yield self.report(self.evaluate())

    @property
    def done(self) -> bool:
        """Whether the horizon is reached or patience has run out."""
        return self.early or self.step >= self.total_steps

    @property
    def epoch(self) -> float:
        """Passes over the training rows, as a fraction."""
        return self.step * self.config.effective_batch_size / len(self._data.train)

    @property
    def is_due(self) -> bool:
        """Whether the step just taken is one that a report follows."""
        return self.step in self._report_steps

    @property
    def shared_weights(self) -> LoraWeights | None:
        """Its adapter, where that is beside the base; None where PEFT has put it into the base."""
        return self._adapter if isinstance(self._adapter, LoraWeights) else None

    def next_micro_batch(self) -> MicroBatch:
        """The next rows to pass forward."""
        config, rows = self.config, self._data.train
        if not self._window:
            indices = window(self._order, self.step, config.effective_batch_size)
            self._window = split(rows, indices, config.per_device_train_batch_size, self._base.room.tokens)
            self.window_labels = sum(label_count(rows, index) for index in indices)
            self._step_loss, self._step_labels, self._step_tokens = 0.0, 0, 0
            self._step_started = time.monotonic()
        batch = collate(rows, self._window.pop(0))
        self.passed_rows, self.passed_tokens = len(batch.lengths), batch.tokens
        return batch

    @property
    def chance(self) -> int:
        """The seed of the next pass's dropout: the same whenever that pass is done, also once more."""
        words = np.random.SeedSequence([self.config.seed, self.step, len(self._window)]).generate_state(1, np.uint64)
        return int(words[0]) >> 2

    def restart_window(self) -> None:
        """Forgets what of the current optimizer step was done: its rows are passed once more, split by the room."""
        self._window = []
        self._optimizer.zero_grad(set_to_none=True)

    def take(self, loss: float, batch: MicroBatch) -> None:
        """Takes the summed loss of a micro-batch whose gradient is there; the window's last makes an optimizer step."""
        self._step_loss += loss
        self._step_labels += batch.labels
        self._step_tokens += batch.tokens
        if self._window:
            return
        self._loss_sum += self._step_loss
        self._label_sum += self._step_labels
        self.tokens += self._step_tokens
        self._optimizer_step()

    def moved(self) -> Moved:
        """What is told of the step just taken."""
        return Moved(
            step=self.step,
            total_steps=self.total_steps,
            epoch=self.epoch,
            train_loss=self._step_loss / max(1, self._step_labels),
            learning_rate=self._rate,
            tokens_per_second=self._step_tokens / max(1e-9, time.monotonic() - self._step_started),
        )

    def evaluate(self) -> float:
        """Mean loss over the evaluation set's label tokens, in nats per token."""
        (loss,) = mean_losses(self._base, self._data.evaluation, [self.shared_weights])
        return loss

    def close(self) -> None:
        """Takes the adapter off the base; the run cannot go on after it."""
        self._optimizer.zero_grad(set_to_none=True)
        self._adapter.remove()

    def _optimizer_step(self) -> None:
        limit = self.config.max_grad_norm or math.inf
        self._grad_norm = float(torch.nn.utils.clip_grad_norm_(self._weights.values(), limit))
        self._rate = float(self._optimizer.param_groups[0]["lr"])
        self._optimizer.step()
        self._scheduler.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.step += 1

    def report(self, eval_loss: float) -> Report:
        """Makes the report that is due, once adapter and checkpoint are on disk.

        Args:
            eval_loss: The evaluation's, in nats per token.
        """
        report = Report(
            evaluation=self._report_steps.index(self.step) + 1,
            total_evaluations=len(self._report_steps),
            step=self.step,
            total_steps=self.total_steps,
            tokens=self.tokens,
            epoch=self.epoch,
            train_loss=self._loss_sum / max(1, self._label_sum),
            eval_loss=eval_loss,
            learning_rate=self._rate,
            grad_norm=self._grad_norm,
            seconds=self._seconds_before + time.monotonic() - self._started,
            peak_memory_bytes=peak_memory_bytes(),
        )
        self._loss_sum, self._label_sum = 0.0, 0
        self.curve.append(report)
        self.early = self.curve.stalled(self.config.early_stopping_patience)
        if self.curve.best is report:
            save_adapter(self.folder, self._adapter.save)
        self._save()
        return report

    def _save(self) -> None:
        tensors = {f"adapter.{name}": part for name, part in self._adapter.named(self._weights).items()}
        tensors |= {f"initial.{name}": first for name, first in self._adapter.initial.items()}
        for key in MOMENTS:
            moments = {name: self._optimizer.state[weight][key] for name, weight in self._weights.items()}
            tensors |= {f"optimizer.{key}.{name}": part for name, part in self._adapter.named(moments).items()}
        tensors["rng.cpu"] = torch.get_rng_state()
        if self._base.device.type == "cuda":
            tensors["rng.cuda"] = torch.cuda.get_rng_state(self._base.device)
        values = {
            "config": self.config.fingerprint(),
            "step": self.step,
            "tokens": self.tokens,
            "early": self.early,
            "reports": [dataclasses.asdict(report) for report in self.curve.reports],
        }
        save_checkpoint(self.folder, tensors, values)

    def _resume(self) -> None:
        """Goes on from the folder's checkpoint, if it has one and it is of this config."""
        checkpoint = load_checkpoint(self.folder)
        if checkpoint is None or checkpoint.values["config"] != self.config.fingerprint():
            return
        tensors, values = checkpoint.tensors, checkpoint.values
        self._adapter.begin_with({name: tensors[f"initial.{name}"] for name in self._adapter.initial})
        with torch.no_grad():
            for name, part in self._adapter.named(self._weights).items():
                part.copy_(tensors[f"adapter.{name}"])
            for weight in self._weights.values():
                fresh = {key: torch.zeros_like(weight) for key in MOMENTS}
                self._optimizer.state[weight].update(fresh, step=torch.tensor(float(values["step"])))
            for key in MOMENTS:
                moments = {name: self._optimizer.state[weight][key] for name, weight in self._weights.items()}
                for name, part in self._adapter.named(moments).items():
                    part.copy_(tensors[f"optimizer.{key}.{name}"])
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors and self._base.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["rng.cuda"], self._base.device)
        self.step, self.tokens, self.early = values["step"], values["tokens"], values["early"]
        self.curve = LearningCurve([Report(**report) for report in values["reports"]])
        self._seconds_before = self.curve.reports[-1].seconds
        # Not by the schedule's own step(), which warns when no optimizer step came before it.
        self._scheduler.last_epoch = self.step
        for group, factor in zip(self._optimizer.param_groups, self._scheduler.lr_lambdas, strict=True):
            group["lr"] = group["initial_lr"] * factor(self.step)


def needs_base(config: TrialConfig) -> bool:
    """Whether an adapter of this kind rewrites the base, or reads its weights, and so has the base for itself."""
    return config.use_dora or config.pissa_init


def _check_base(config: TrialConfig, base: BaseModel) -> None:
    """As when one GPU of a machine can hold a quantised base and this one cannot: their losses would not compare."""
    bits = base.facts.quantization_bit
    if config.quantization_bit != bits:
        why = base.facts.not_quantized
        told = f"has {bits} bits" if bits else f"is not quantised{f': {why}' if why else ''}"
        raise ConfigError(f"quantization_bit is {config.quantization_bit}, but this worker's base {told}")
