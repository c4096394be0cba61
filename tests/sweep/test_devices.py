"""Which GPUs are found, and how trials are laid on what was asked for."""

import os
from pathlib import Path

import pytest

from sweep.asked import asked_slots
from sweep.devices import MOST_CPU_WORKERS, Slot, list_gpus, plan_slots
from sweep.errors import SweepError
from sweep.options import SweepOptions

TWO_GPUS = "0, GPU-aaaa-1111\n1, GPU-bbbb-2222"


def install_nvidia_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, output: str, status: int = 0) -> None:
    """Puts a driver's tool first on PATH that prints `output`."""
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\ncat <<'END'\n{output}\nEND\nexit {status}\n", encoding="utf8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def slots(gpus: str = "", each: int = 1, at_once: int | None = None, *, present: int = 0, cores: int = 4) -> list[Slot]:
    return plan_slots(
        gpus, each, "auto" if at_once is None else str(at_once), present=list(range(present)), cores=cores
    )


def test_without_a_gpu_the_cpu_gets_a_worker_a_core() -> None:
    assert slots(cores=4) == [Slot((), 1)] * 4


def test_a_big_cpu_gets_no_more_workers_than_memory_takes_and_shares_its_cores() -> None:
    assert slots(cores=64) == [Slot((), 64 // MOST_CPU_WORKERS)] * MOST_CPU_WORKERS


def test_fewer_workers_on_the_cpu_get_more_threads_each() -> None:
    assert slots(at_once=2, cores=8) == [Slot((), 4)] * 2


def test_the_environment_may_allow_a_worker_fewer_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    options = SweepOptions(space="sft_lora", gpus="cpu", trials_per_gpu="2")
    threads = []
    for word in ("1", "3", "99", "", "many", "0"):
        monkeypatch.setenv("OMP_NUM_THREADS", word)
        threads.append([slot.threads for slot in asked_slots(options)])
    assert threads == [[1, 1], [3, 3], [4, 4], [4, 4], [4, 4], [4, 4]]


def test_more_trials_than_cores_share_their_workers() -> None:
    assert slots(at_once=3, cores=2) == [Slot((), 1, trials=2), Slot((), 1, trials=1)]
    assert slots(at_once=4, cores=2) == [Slot((), 1, trials=2)] * 2
    assert slots(at_once=2 * MOST_CPU_WORKERS, cores=64) == [Slot((), 8, trials=2)] * MOST_CPU_WORKERS


@pytest.mark.parametrize("word", ["cpu", " CPU "])
def test_cpu_can_be_asked_for_where_there_are_gpus(word: str) -> None:
    assert slots(word, present=2, cores=1) == [Slot((), 1)]


def test_every_gpu_gets_a_slot() -> None:
    assert slots(present=3) == [Slot((0,), 0), Slot((1,), 0), Slot((2,), 0)]


def test_several_trials_share_a_gpu() -> None:
    assert slots(at_once=2, present=2) == [Slot((0,), 0, trials=2), Slot((1,), 0, trials=2)]


def test_chosen_gpus_keep_their_order_and_count_once() -> None:
    assert [slot.gpus for slot in slots("2, 0,2", present=3)] == [(2,), (0,)]


def test_a_trial_over_two_gpus_leaves_an_odd_one_idle() -> None:
    assert [slot.gpus for slot in slots(each=2, present=5)] == [(0, 1), (2, 3)]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"gpus": "0"}, "GPUS is '0', but there is no GPU 0: this machine has none. GPUS=cpu runs on the CPU."),
        ({"gpus": "0,5", "present": 2}, "there is no GPU 5: this machine has 0, 1"),
        ({"gpus": "cuda:0", "present": 1}, "GPUS is 'cuda:0'; allowed: indices like 0,1 (this machine has 0), or cpu"),
        ({"gpus": "0,,1", "present": 2}, "allowed: indices like 0,1"),
        ({"each": 0}, "GPUS_PER_TRIAL is 0; allowed: a whole number of at least 1"),
        ({"at_once": 0}, "TRIALS_PER_GPU is '0'; allowed: auto, or a whole number of at least 1"),
        ({"each": 2}, "GPUS_PER_TRIAL is 2, but this sweep runs on the CPU"),
        ({"each": 3, "present": 2}, "GPUS_PER_TRIAL is 3, but there are only 2 GPUs: [0, 1]"),
    ],
)
def test_what_cannot_be_is_refused_with_what_was_asked(asked: dict[str, object], message: str) -> None:
    with pytest.raises(SweepError) as error:
        slots(**asked)  # type: ignore[arg-type]
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("slot", "label"), [(Slot((), 1), "cpu"), (Slot((0,), 0), "gpu 0"), (Slot((0, 1), 0), "gpus 0,1")]
)
def test_a_slot_says_what_it_is(slot: Slot, label: str) -> None:
    assert slot.label == label


def test_no_tool_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list_gpus() == []


def test_the_tools_indices_are_the_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_nvidia_smi(tmp_path, monkeypatch, TWO_GPUS)
    assert list_gpus() == [0, 1]


def test_a_tool_that_fails_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_nvidia_smi(tmp_path, monkeypatch, "0, GPU-a\nFailed to initialize NVML", status=9)
    assert list_gpus() == []


def test_a_tool_that_cannot_be_run_is_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_nvidia_smi(tmp_path, monkeypatch, TWO_GPUS)
    (tmp_path / "nvidia-smi").write_bytes(b"\x7fELF but no program")
    assert list_gpus() == []


def test_words_that_are_no_gpu_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_nvidia_smi(tmp_path, monkeypatch, "No devices were found")
    assert list_gpus() == []


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [
        ("1", [1]),
        ("1, 0", [0, 1]),
        ("", []),
        ("-1", []),
        ("0,-1,1", [0]),  # CUDA looks no further than the first that is none
        ("GPU-bbbb", [1]),
        ("GPU-", []),  # names both
        ("7", []),
    ],
)
def test_cuda_visible_devices_limits_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str, gpus: list[int]
) -> None:
    install_nvidia_smi(tmp_path, monkeypatch, TWO_GPUS)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert list_gpus() == gpus


@pytest.mark.parametrize(("gigabytes", "workers", "threads"), [(100, 8, 1), (13, 4, 2), (1, 1, 8)])
def test_little_memory_gives_fewer_cpu_workers_of_more_threads(gigabytes: int, workers: int, threads: int) -> None:
    slots = plan_slots("cpu", 1, "auto", present=[], cores=8, free_bytes=gigabytes << 30)
    assert slots == [Slot((), threads)] * workers
