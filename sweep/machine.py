"""What machine a session ran on, and what differs from it on another one."""

import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import optuna
import psutil

from sweep.devices import list_gpus
from sweep.version import __version__
from trials.protocol import Ready

# The study's user attribute: the machine of its newest session.
MACHINE = "machine"
LIBRARIES = ("torch", "transformers", "peft", "optuna")
# A machine's memory as the system tells it moves by a few pages from boot to boot.
SAME_MEMORY = 0.98


@dataclass(frozen=True)
class Gpu:
    """A GPU: its own name, and all its memory in bytes."""

    name: str
    memory_bytes: int


@dataclass(frozen=True)
class Machine:
    """What a machine is, as far as it matters to trials.

    Attributes:
        host: Its name.
        gpus: Those that this program may use.
        cores: CPU cores.
        memory_bytes: Of the machine, not of its GPUs.
        versions: Of this program and of the libraries that train.
        dtype: Of the base model's weights, "bf16" or "fp32"; empty where no model was loaded.
    """

    host: str
    gpus: tuple[Gpu, ...]
    cores: int
    memory_bytes: int
    versions: Mapping[str, str] = field(default_factory=dict)
    dtype: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Any) -> "Machine":
        """Reads `to_dict`'s, which may come from anywhere.

        Raises:
            ValueError: It is none.
        """
        try:
            gpus = tuple(Gpu(_text(gpu["name"]), int(gpu["memory_bytes"])) for gpu in plain["gpus"])
            versions = {_text(name): _text(told) for name, told in plain["versions"].items()}
            sizes = int(plain["cores"]), int(plain["memory_bytes"])
            return cls(_text(plain["host"]), gpus, *sizes, versions, _text(plain["dtype"]))
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"no machine: {error}") from error

    def differences(self, before: "Machine") -> list[str]:
        """What differs here from another machine, in words; empty where nothing does."""
        found = []
        if _called(self.gpus) != _called(before.gpus):
            found.append(f"GPUs: {_called(before.gpus)}, now {_called(self.gpus)}")
        elif any(now < then * SAME_MEMORY for now, then in zip(_memories(self), _memories(before), strict=True)):
            found.append(f"less GPU memory: {_gigabytes(_memories(before))}, now {_gigabytes(_memories(self))}")
        if self.memory_bytes < before.memory_bytes * SAME_MEMORY:
            found.append(f"less memory: {_gigabytes([before.memory_bytes])}, now {_gigabytes([self.memory_bytes])}")
        if self.dtype and before.dtype and self.dtype != before.dtype:
            found.append(f"dtype: {before.dtype}, now {self.dtype}")
        for name, then in before.versions.items():
            now = self.versions.get(name, "")
            if now != then:
                found.append(f"{name} {then or 'missing'}, now {now or 'missing'}")
        return found


def this_machine(ready: Ready | None = None) -> Machine:
    """The machine that this program runs on; with `ready`, also what the model was loaded as."""
    return Machine(
        host=socket.gethostname(),
        gpus=_gpus(),
        cores=psutil.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        versions={"lora-sweep": __version__, **{name: _version(name) for name in LIBRARIES}},
        dtype=ready.model.dtype if ready else "",
    )


def kept_machine(study: optuna.Study) -> Machine | None:
    """The machine of a study's newest session; None where it is not known."""
    try:
        return Machine.from_dict(study.user_attrs[MACHINE])
    except (KeyError, ValueError):
        return None


def moved_notes(study: optuna.Study, now: Machine) -> list[str]:
    """What a session says when the one before ran on another kind of machine."""
    before = kept_machine(study)
    found = now.differences(before) if before else []
    return [f"the session before ran on {before.host}: {'; '.join(found)}"] if before and found else []


def _gpus() -> tuple[Gpu, ...]:
    """What the driver's own tool tells."""
    usable, tool = list_gpus(), shutil.which("nvidia-smi")
    if tool is None or not usable:
        return ()
    query = [tool, "--query-gpu=index,memory.total,name", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = []
    for line in answer.splitlines():
        index, memory, name = (word.strip() for word in (*line.split(",", 2), "", "")[:3])
        if index.isdigit() and int(index) in usable:
            found.append(Gpu(name, int(memory) << 20 if memory.isdigit() else 0))
    return tuple(found)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _text(value: Any) -> str:
    """A text that can be shown: what came with a bundle goes to a terminal."""
    if not isinstance(value, str) or len(value) > 200 or not value.isprintable():
        raise TypeError("a text of up to 200 printable characters is allowed")
    return value


def _memories(machine: Machine) -> list[int]:
    return sorted(gpu.memory_bytes for gpu in machine.gpus)


def _called(gpus: tuple[Gpu, ...]) -> str:
    counted = Counter(gpu.name for gpu in gpus)
    return ", ".join(f"{count} × {name}" for name, count in sorted(counted.items())) or "none"


def _gigabytes(sizes: list[int]) -> str:
    return ", ".join(f"{size / (1 << 30):.0f} GB" for size in sizes)
