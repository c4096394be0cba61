"""A real worker process at the other end of a pipe, with the tiny model."""

import contextlib
import dataclasses
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from tests.trials.tiny_runs import ROWS, measured, run_to_end, tiny_config
from trials.data import PreparedData
from trials.failure import FailureClass
from trials.folders import CHECKPOINT
from trials.model import BaseModel
from trials.protocol import (
    Answer,
    Arrived,
    Command,
    Failed,
    Finished,
    Job,
    Leaving,
    Limits,
    Message,
    Moved,
    Ready,
    Saved,
    Stop,
    Told,
    WorkerSetup,
)
from trials.report import Report
from trials.start_loss import start_loss
from trials.token_checks import TokenFacts

pytestmark = pytest.mark.slow

# Seconds after which a worker that should have answered or ended counts as hung. It takes about five to start.
PATIENCE = 120
# Jobs are told apart by them.
NUMBERS = itertools.count()
# Steps enough to keep a worker busy until it is told to stop.
ENDLESS = tiny_config(num_train_epochs=1e6, evaluations=1)


class Process:
    """A worker process and this end of its pipe."""

    def __init__(self) -> None:
        self.pipe, other = Pipe()
        self.child = subprocess.Popen(
            [sys.executable, "-m", "trials.worker", str(other.fileno())],
            cwd=Path(__file__).parents[2],
            pass_fds=[other.fileno()],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        other.close()

    def send(self, command: Command) -> None:
        self.pipe.send(command)

    def answer(self) -> Answer:
        """Return what it says next."""
        assert self.pipe.poll(PATIENCE), "the worker says nothing"
        answer: Answer = self.pipe.recv()
        return answer

    def receive(self) -> Ready | Message:
        """Return what it says next, of whichever job."""
        answer = self.answer()
        assert not isinstance(answer, Limits), "everything fits"
        assert not isinstance(answer, Arrived | Leaving), "no engine started it"
        return answer.message if isinstance(answer, Told) else answer

    def until_closing(self) -> list[Ready | Message]:
        """Return the messages up to the one that closes a job."""
        messages = [self.receive()]
        while isinstance(messages[-1], Moved | Report):
            messages.append(self.receive())
        return messages

    def wait(self) -> int:
        """Return the exit code once the process has ended."""
        return self.child.wait(PATIENCE)


@contextlib.contextmanager
def started(setup: WorkerSetup) -> Iterator[Process]:
    process = Process()
    try:
        process.send(setup)
        yield process
    finally:
        process.pipe.close()
        process.child.kill()
        process.child.wait()


@pytest.fixture(scope="module")
def setup(tiny_folder: Path, tiny_chats: Path, tmp_path_factory: pytest.TempPathFactory) -> WorkerSetup:
    return WorkerSetup(
        model=str(tiny_folder),
        dataset=str(tiny_chats),
        stage="sft",
        cutoff_len=128,
        max_samples=ROWS,
        val_size=12,
        seed=0,
        dtype="fp32",
        quantization_bit=None,
        threads=1,
        trust_remote_code=False,
        cache_dir=tmp_path_factory.mktemp("cache"),
    )


@pytest.fixture(scope="module")
def worker(setup: WorkerSetup) -> Iterator[Process]:
    """Return a worker that is ready, shared by the tests that leave it so."""
    with started(setup) as process:
        assert isinstance(process.receive(), Ready)
        yield process


def changed(setup: WorkerSetup, **changes: Any) -> WorkerSetup:
    return dataclasses.replace(setup, **changes)


# --- jobs


def test_ready_tells_of_model_data_and_device(
    setup: WorkerSetup, tiny_base: BaseModel, tiny_data: PreparedData
) -> None:
    with started(setup) as process:
        ready = process.receive()
        assert isinstance(ready, Ready)
        assert ready.model == tiny_base.facts
        assert ready.data["fingerprint"] == tiny_data.facts.fingerprint
        assert (ready.data["train_rows"], ready.data["eval_rows"]) == (ROWS, 12)
        checks, tokens = tiny_data.facts.checks, ready.data["tokens"]
        assert checks is not None
        assert ready.data["checks"] == dataclasses.asdict(checks)
        assert tokens == dataclasses.asdict(TokenFacts(("<|im_start|>", "<|im_end|>"), (), "<|im_end|>", 1.0))
        assert ready.device.memory_bytes >= ready.device.free_bytes > 0
        assert ready.start_loss is None, "it was not asked for"
        process.pipe.close()
        assert process.wait() == 0


def test_the_loss_before_training_is_told_when_it_is_asked_for(
    setup: WorkerSetup, tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    with started(changed(setup, start_loss=True)) as process:
        ready = process.receive()
        assert isinstance(ready, Ready)
        assert ready.start_loss == pytest.approx(start_loss(tiny_base, tiny_data, tmp_path), rel=0, abs=1e-6)


def test_a_job_tells_each_step_each_report_and_its_end(
    worker: Process, tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    worker.send(Job(next(NUMBERS), tiny_config(), tmp_path / "new" / "job"))
    messages = worker.until_closing()
    assert [type(message) for message in messages] == [Moved, Moved, Report] * 3 + [Finished]
    assert [message.step for message in messages if isinstance(message, Moved)] == [1, 2, 3, 4, 5, 6]
    assert messages[-1] == Finished(trainable_parameters=2 * (4 * 64 + 4 * 48), early=False)
    here = run_to_end(tiny_config(), tiny_base, tiny_data, tmp_path / "here")
    reports = [message for message in messages if isinstance(message, Report)]
    for report, other in zip(reports, here, strict=True):
        assert measured(report) == pytest.approx(measured(other), rel=0, abs=1e-6)


def stop_at_first_step(worker: Process, job: Job, stop: Stop) -> list[Ready | Message]:
    worker.send(job)
    first = worker.receive()
    worker.send(stop)
    return [first, *worker.until_closing()]


def test_stop_and_save_ends_at_an_evaluation_from_which_the_next_job_goes_on(worker: Process, tmp_path: Path) -> None:
    config = tiny_config(num_train_epochs=40.0, evaluations=10)
    messages = stop_at_first_step(worker, Job(next(NUMBERS), config, tmp_path), Stop(save=True))
    assert messages[-1] == Saved()
    reports = [message for message in messages if isinstance(message, Report)]
    assert 0 < len(reports) < 10
    worker.send(Job(next(NUMBERS), config, tmp_path))
    again = [message for message in worker.until_closing() if isinstance(message, Report)]
    assert again[: len(reports)] == reports
    assert [report.evaluation for report in again] == list(range(1, 11))


def test_stop_without_saving_ends_at_once_and_the_next_job_works(worker: Process, tmp_path: Path) -> None:
    messages = stop_at_first_step(worker, Job(next(NUMBERS), ENDLESS, tmp_path / "a"), Stop(save=False))
    assert isinstance(messages[-1], Finished)
    assert not any(isinstance(message, Report) for message in messages)
    assert not (tmp_path / "a" / CHECKPOINT).exists()
    worker.send(Job(next(NUMBERS), tiny_config(), tmp_path / "b"))
    assert len(worker.until_closing()) == 6 + 3 + 1


def test_a_stop_that_comes_too_late_does_not_stop_the_next_job(worker: Process, tmp_path: Path) -> None:
    worker.send(Stop(save=False))
    worker.send(Job(next(NUMBERS), tiny_config(), tmp_path))
    assert len(worker.until_closing()) == 6 + 3 + 1


# --- failures


def expect_failure(process: Process) -> Failed:
    message = process.until_closing()[-1]
    assert isinstance(message, Failed)
    return message


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"dataset": "/no/such.jsonl"}, "no such file: /no/such.jsonl"),
        ({"model": "/no/such"}, "no model folder '/no/such'"),
    ],
)
def test_a_setup_that_cannot_be_is_told_and_ends_it(setup: WorkerSetup, changes: dict[str, Any], wanted: str) -> None:
    with started(dataclasses.replace(setup, **changes)) as process:
        failed = expect_failure(process)
        assert failed.message.startswith(wanted)
        assert (failed.detail, failed.expected) == ("", True)
        assert process.wait() == 0


def test_a_target_that_the_model_has_not_is_told_and_the_next_job_works(worker: Process, tmp_path: Path) -> None:
    worker.send(Job(next(NUMBERS), tiny_config(lora_target=("nonesuch",)), tmp_path / "a"))
    wanted = "lora_target names nonesuch, but the base model has no module of that name"
    assert expect_failure(worker) == Failed(wanted, "", expected=True, failure=FailureClass.SETUP)
    worker.send(Job(next(NUMBERS), tiny_config(), tmp_path / "b"))
    assert len(worker.until_closing()) == 6 + 3 + 1


def test_an_unexpected_error_is_told_with_its_traceback_and_ends_it(setup: WorkerSetup, tmp_path: Path) -> None:
    with started(setup) as process:
        assert isinstance(process.receive(), Ready)
        (tmp_path / "file").write_text("")
        process.send(Job(next(NUMBERS), tiny_config(), tmp_path / "file"))
        failed = expect_failure(process)
        assert failed.message.startswith("FileExistsError: ")
        assert "trials/crew.py" in failed.detail
        assert failed.detail.rstrip().endswith(failed.message)
        assert not failed.expected
        assert process.wait() == 0


# --- several at once


def by_number(process: Process, numbers: set[int]) -> dict[int, list[Message]]:
    """Return what is said of each job until all are closed."""
    told: dict[int, list[Message]] = {number: [] for number in numbers}
    while any(not messages or isinstance(messages[-1], Moved | Report) for messages in told.values()):
        answer = process.answer()
        assert isinstance(answer, Told)
        told[answer.number].append(answer.message)
    return told


def reports_of(messages: list[Message]) -> list[dict[str, float]]:
    return [measured(message) for message in messages if isinstance(message, Report)]


def test_several_jobs_go_on_at_once_each_as_alone(
    worker: Process, tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    configs = [tiny_config(lora_rank=rank, learning_rate=rate) for rank, rate in ((2, 1e-3), (4, 5e-3), (8, 1e-2))]
    jobs = [Job(next(NUMBERS), config, tmp_path / str(place)) for place, config in enumerate(configs)]
    for job in jobs:
        worker.send(job)
    told = by_number(worker, {job.number for job in jobs})
    for job in jobs:
        here = run_to_end(job.config, tiny_base, tiny_data, tmp_path / f"here-{job.number}")
        for report, other in zip(reports_of(told[job.number]), here, strict=True):
            assert report == pytest.approx(measured(other), rel=0, abs=1e-6)


def test_a_stop_is_of_its_job_alone(worker: Process, tmp_path: Path) -> None:
    endless, short = Job(next(NUMBERS), ENDLESS, tmp_path / "a"), Job(next(NUMBERS), tiny_config(), tmp_path / "b")
    worker.send(endless)
    worker.send(short)
    worker.answer()
    worker.send(Stop(save=False, number=endless.number))
    told = by_number(worker, {endless.number, short.number})
    assert isinstance(told[endless.number][-1], Finished)
    assert not reports_of(told[endless.number])
    assert len(reports_of(told[short.number])) == 3


# --- the closed pipe


def test_a_pipe_that_closes_before_the_setup_ends_it() -> None:
    process = Process()
    process.pipe.close()
    assert process.wait() == 0


def test_a_pipe_that_closes_in_mid_job_ends_it(setup: WorkerSetup, tmp_path: Path) -> None:
    with started(setup) as process:
        process.receive()
        process.send(Job(next(NUMBERS), ENDLESS, tmp_path))
        assert isinstance(process.receive(), Moved)
        process.pipe.close()
        assert process.wait() == 0


def test_a_pipe_that_closes_while_it_loads_ends_it(setup: WorkerSetup, tmp_path: Path) -> None:
    """A named pipe that nobody writes to keeps the worker loading for as long as it takes."""
    os.mkfifo(tmp_path / "chats.jsonl")
    with (
        started(dataclasses.replace(setup, dataset=str(tmp_path / "chats.jsonl"))) as process,
        (tmp_path / "chats.jsonl").open("w"),  # opens once the worker has opened it to read
    ):
        process.pipe.close()
        assert process.wait() == 0
