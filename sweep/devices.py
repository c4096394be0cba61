"""Which devices there are, and how trials are laid on them. Asks the driver's own tool, never torch."""

import os
import shutil
import subprocess
from dataclasses import dataclass

from sweep.errors import SweepError

# Workers of one thread train more tokens a second than one worker of many threads (`make bench-cpu-workers`:
# on two cores 1.1 to 1.2 times as many). Beyond this number memory, a model a worker, is the limit.
MOST_CPU_WORKERS = 8
# What a worker of the default model takes at its peak, rows of 128 tokens in micro-batches of eight (measured).
CPU_WORKER_BYTES = 3 * (1 << 30)
AUTO = "auto"


@dataclass(frozen=True)
class Slot:
    """One place where trials run: a worker's.

    Attributes:
        gpus: Indices of its GPUs; empty for the CPU.
        threads: CPU threads of its worker; 0 leaves the library's choice.
        trials: Trials that its worker does at once, on one base model.
        engine: The launcher whose engine chooses machine and GPUs ("ray"); empty for this machine, whose `gpus` are
            indices here, where an engine's only count.
        machine: Slots of an engine that share this number may be on one machine.
    """

    gpus: tuple[int, ...]
    threads: int
    trials: int = 1
    engine: str = ""
    machine: int = 0

    @property
    def label(self) -> str:
        """For people: "cpu", "gpu 0" or "gpus 0,1"; of an engine "ray, 1 GPU each"."""
        if self.engine:
            count, unit = (len(self.gpus), "GPU") if self.gpus else (self.threads, "CPU core")
            return f"{self.engine}, {count} {unit}{'' if count == 1 else 's'} each"
        if not self.gpus:
            return "cpu"
        return f"gpu{'s' if len(self.gpus) > 1 else ''} {','.join(map(str, self.gpus))}"

    @property
    def device(self) -> tuple[str, int, tuple[int, ...]]:
        """What it shares with the slots of an equal one: a device and its memory."""
        return self.engine, self.machine, self.gpus


def list_gpus() -> list[int]:
    """Indices of the CUDA GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` limits them.

    CUDA takes indices and the beginnings of UUIDs there, and nothing behind a word that names no GPU.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        answer = subprocess.run(
            [tool, "--query-gpu=index,uuid", "--format=csv,noheader"], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if answer.returncode != 0:
        return []
    present: dict[int, str] = {}
    for line in answer.stdout.splitlines():
        index, _, uuid = line.partition(",")
        if index.strip().isdigit():
            present[int(index)] = uuid.strip()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return list(present) if visible is None else _visible(visible, present)


def _visible(words: str, present: dict[int, str]) -> list[int]:
    """The GPUs that `CUDA_VISIBLE_DEVICES` names, of those present (index to UUID)."""
    allowed = set()
    for word in (word.strip() for word in words.split(",")):
        named = [i for i, uuid in present.items() if word == str(i) or (word[:4] == "GPU-" and uuid.startswith(word))]
        if len(named) != 1:
            break
        allowed.add(named[0])
    return sorted(allowed)


def plan_slots(
    gpus: str,
    gpus_per_trial: int,
    trials_per_gpu: str,
    *,
    present: list[int],
    cores: int,
    free_bytes: int | None = None,
    threads: int | None = None,
) -> list[Slot]:
    """Lays slots on the devices that were asked for.

    Args:
        gpus: "" for every GPU there is (else the CPU), "cpu", or indices like "0,2".
        gpus_per_trial: GPUs that one trial's model is spread over.
        trials_per_gpu: Trials at once on a device: a number, or "auto" for one a core on the CPU, and for one a GPU
            until it is known how many keep it busy.
        present: Indices of the GPUs of this machine.
        cores: CPU cores of this machine.
        threads: CPU threads of a worker at most; None for its share of the cores.
        free_bytes: Its memory that can be had; it limits the workers on the CPU where their number is not asked for.

    Raises:
        SweepError: An index does not exist, or the numbers do not go together.
    """
    if gpus_per_trial < 1:
        raise SweepError(f"GPUS_PER_TRIAL is {gpus_per_trial}; allowed: a whole number of at least 1")
    at_once = asked_trials(trials_per_gpu)
    chosen = _chosen(gpus, present)
    if not chosen:
        if gpus_per_trial > 1:
            raise SweepError(f"GPUS_PER_TRIAL is {gpus_per_trial}, but this sweep runs on the CPU")
        fitting = MOST_CPU_WORKERS if free_bytes is None else max(1, free_bytes // CPU_WORKER_BYTES)
        workers = min(cores, MOST_CPU_WORKERS, fitting, at_once or cores)
        trials = [len(range(place, at_once or workers, workers)) for place in range(workers)]
        share = max(1, cores // workers)
        return [Slot((), min(share, threads or share), count) for count in trials]
    if gpus_per_trial > len(chosen):
        raise SweepError(f"GPUS_PER_TRIAL is {gpus_per_trial}, but there are only {len(chosen)} GPUs: {chosen}")
    groups = [tuple(chosen[i : i + gpus_per_trial]) for i in range(0, len(chosen) - gpus_per_trial + 1, gpus_per_trial)]
    return [Slot(group, 0, at_once or 1) for group in groups]


def asked_trials(trials_per_gpu: str) -> int | None:
    """The number that was asked for; None for "auto".

    Raises:
        SweepError: It is neither.
    """
    word = trials_per_gpu.strip().lower()
    if word == AUTO:
        return None
    if not word.isdecimal() or int(word) < 1:
        raise SweepError(f"TRIALS_PER_GPU is {trials_per_gpu!r}; allowed: {AUTO}, or a whole number of at least 1")
    return int(word)


def _chosen(gpus: str, present: list[int]) -> list[int]:
    if gpus.strip().lower() == "cpu":
        return []
    if not gpus.strip():
        return present
    there = f"this machine has {', '.join(map(str, present)) if present else 'none'}"
    words = [word.strip() for word in gpus.split(",")]
    if not all(word.isdigit() for word in words):
        raise SweepError(f"GPUS is {gpus!r}; allowed: indices like 0,1 ({there}), or cpu")
    chosen = list(dict.fromkeys(int(word) for word in words))
    missing = [index for index in chosen if index not in present]
    if missing:
        raise SweepError(f"GPUS is {gpus!r}, but there is no GPU {missing[0]}: {there}. GPUS=cpu runs on the CPU.")
    return chosen
