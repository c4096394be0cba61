"""What is told of machines, and that times of several are not compared."""

from dataclasses import replace
from typing import Any

import optuna
import pytest

from sweep.confirm_words import candidates
from sweep.machine import MACHINE, Gpu, Machine, moved_notes, this_machine
from sweep.results import Results
from sweep.sweep_storage import SweepStorage
from tests.sweep.fakes import curve, make_plan, make_ready
from trials.protocol import DeviceFacts

GIB = 1 << 30
A100 = Gpu("NVIDIA A100", 80 * GIB)
THERE = Machine("there", (A100, A100), 64, 256 * GIB, {"torch": "2.13.0", "peft": "0.21.0"}, "bf16")


def test_nothing_differs_from_itself() -> None:
    assert THERE.differences(THERE) == []
    assert THERE.differences(replace(THERE, host="elsewhere", cores=8)) == []
    assert this_machine().differences(this_machine(make_ready())) == []


@pytest.mark.parametrize(
    ("here", "told"),
    [
        (replace(THERE, gpus=()), "GPUs: 2 × NVIDIA A100, now none"),
        (replace(THERE, gpus=(A100,)), "GPUs: 2 × NVIDIA A100, now 1 × NVIDIA A100"),
        (replace(THERE, gpus=(A100, Gpu("NVIDIA A100", 40 * GIB))), "less GPU memory: 80 GB, 80 GB, now 40 GB, 80 GB"),
        (replace(THERE, memory_bytes=16 * GIB), "less memory: 256 GB, now 16 GB"),
        (replace(THERE, dtype="fp32"), "dtype: bf16, now fp32"),
        (replace(THERE, versions={"torch": "2.13.0", "peft": "0.19.0"}), "peft 0.21.0, now 0.19.0"),
        (replace(THERE, versions={"torch": "2.13.0"}), "peft 0.21.0, now missing"),
    ],
)
def test_each_difference_is_told(here: Machine, told: str) -> None:
    assert here.differences(THERE) == [told]


def test_more_memory_is_no_difference_to_mind() -> None:
    assert replace(THERE, memory_bytes=512 * GIB).differences(THERE) == []


def test_a_machine_is_kept_with_the_study(study: optuna.Study) -> None:
    assert moved_notes(study, THERE) == []
    study.set_user_attr(MACHINE, THERE.to_dict())
    assert moved_notes(study, THERE) == []
    assert moved_notes(study, replace(THERE, dtype="fp32")) == [
        "the session before ran on there: dtype: bf16, now fp32"
    ]


@pytest.mark.parametrize("plain", [None, {}, [], {"host": "a\x1b[2J"}, {**THERE.to_dict(), "gpus": [1]}])
def test_what_is_no_machine(plain: Any) -> None:
    with pytest.raises(ValueError, match="no machine"):
        Machine.from_dict(plain)


def test_devices_of_one_name_and_another_size_are_two_kinds() -> None:
    assert DeviceFacts("cpu", 24 * GIB, GIB).kind == "cpu, 24 GB"
    assert DeviceFacts("cpu", 4 * GIB, GIB).kind != DeviceFacts("cpu", 24 * GIB, GIB).kind


CONFIRMS = {"study": "first", "trials": [7, 9], "settings": [{"lora_rank": 8}, {"lora_rank": 16}], "seeds": [43, 44]}


def results_of(storage: SweepStorage, hosts: dict[int, list[str]]) -> Results:
    """Two settings at two seeds; trial `n` took `n` times ten seconds an evaluation."""
    results = Results(storage.engine, "demo")
    for number, (rank, seed) in enumerate([(8, 43), (16, 43), (8, 44), (16, 44)]):
        config = make_plan().config({"lora_rank": rank, "lora_alpha": 16, "lora_target": "qv", "learning_rate": 1e-3})
        results.start_trial(number, config, {"lora_rank": rank, "seed": seed}, "x", 10)
        for report in curve(3.0, 2.0 + number / 10, total=2):
            results.add_report(number, replace(report, seconds=10.0 * (number + 1)))
        results.end_trial(number, "complete", value=2.0 + number / 10)
        for host in hosts.get(number, []):
            results.ran_on(number, host, "cpu, 24 GB")
    return results


@pytest.mark.parametrize(
    ("hosts", "seconds"),
    [
        ({}, [20.0, 30.0]),  # recorded before machines were
        ({number: ["a"] for number in range(4)}, [20.0, 30.0]),
        ({0: ["a"], 1: ["a"], 2: ["b"], 3: ["c"]}, [10.0, 20.0]),  # one machine ran both
        ({0: ["a"], 1: ["b"], 2: ["a"], 3: ["b"]}, [None, None]),
        ({0: ["a"], 1: ["a", "b"], 2: ["a"], 3: ["b"]}, [None, None]),  # one moved in the middle
    ],
)
def test_times_of_one_machine_are_compared(
    storage: SweepStorage, hosts: dict[int, list[str]], seconds: list[float | None]
) -> None:
    results = results_of(storage, hosts)
    found = candidates(results, results.trials(), CONFIRMS)
    assert [candidate.seconds for candidate in found] == seconds
    assert [candidate.losses for candidate in found] == [{43: 2.0, 44: 2.2}, {43: 2.1, 44: 2.3}]
    assert all((candidate.peak_memory_bytes is None) == (candidate.seconds is None) for candidate in found)


def test_a_trial_that_goes_on_with_a_lost_one_ran_where_that_did(storage: SweepStorage) -> None:
    results = results_of(storage, {0: ["a"]})
    results.ran_on(1, "b", "cpu, 24 GB", lost=[0])
    results.ran_on(1, "b", "cpu, 24 GB", lost=[0])
    assert results.machines() == {0: "a, cpu, 24 GB", 1: None}
