"""Who passes with whom, and what is told when a pass fails."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.trials.tiny_runs import measured, run_to_end, tiny_config
from trials import crew as crew_module
from trials.batches import MicroBatch
from trials.crew import BrokenError, Crew
from trials.data import PreparedData
from trials.failure import FailureClass
from trials.losses import label_losses
from trials.memory import Room
from trials.model import BaseModel
from trials.passing import mean_losses, pass_together
from trials.protocol import Failed, Finished, Job, Limits, Message, Moved, Saved, Stop, Told
from trials.report import Report
from trials.run import LoraRun


class Jobs:
    """A crew, and what it says of each of its jobs."""

    def __init__(self, base: BaseModel, data: PreparedData, folder: Path) -> None:
        self.crew = Crew(base, data, self._tell)
        self.said: dict[int, list[Message]] = {}
        self.limits = list[Limits]()
        self._folder = folder

    def _tell(self, told: Told | Limits) -> None:
        if isinstance(told, Limits):
            self.limits.append(told)
            return
        self.said.setdefault(told.number, []).append(told.message)

    def job(self, number: int, **changes: Any) -> None:
        self.crew.take(Job(number, tiny_config(**changes), self._folder / str(number)))

    def to_end(self) -> None:
        while not self.crew.idle:
            self.crew.advance()

    def reports(self, number: int) -> list[dict[str, float]]:
        return [measured(message) for message in self.said.get(number, []) if isinstance(message, Report)]

    def last(self, number: int) -> Message:
        return self.said[number][-1]


def roomy(base: BaseModel) -> BaseModel:
    """Return a base on which a pass may have any number of tokens, until one does not fit."""
    room = Room(base.device)
    room.tokens = None
    return dataclasses.replace(base, room=room)


@pytest.fixture
def jobs(tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path) -> Jobs:
    return Jobs(roomy(tiny_base), tiny_data, tmp_path)


@pytest.fixture
def packs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many runs each pass had."""
    sizes = list[int]()

    def count(base: BaseModel, runs: Sequence[LoraRun]) -> None:
        sizes.append(len(runs))
        pass_together(base, runs)

    monkeypatch.setattr(crew_module, "pass_together", count)
    return sizes


def alone(base: BaseModel, data: PreparedData, folder: Path, **changes: Any) -> list[dict[str, float]]:
    return [measured(report) for report in run_to_end(tiny_config(**changes), roomy(base), data, folder / "alone")]


def assert_near(found: list[list[dict[str, float]]], wanted: list[list[dict[str, float]]]) -> None:
    """Of several runs' reports: equal but for rounding."""
    for reports, others in zip(found, wanted, strict=True):
        for report, other in zip(reports, others, strict=True):
            assert report == pytest.approx(other, rel=0, abs=1e-5)


# --- who passes with whom


def test_jobs_that_come_together_share_their_passes(jobs: Jobs, packs: list[int]) -> None:
    for number in range(3):
        jobs.job(number, lora_rank=2 + number)
    jobs.to_end()
    assert packs == [3] * 6
    for number in range(3):
        kinds = [type(message) for message in jobs.said[number]]
        assert kinds == [Moved, Moved, Report] * 3 + [Finished]


def test_one_may_join_in_mid_flight(
    jobs: Jobs, packs: list[int], tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    jobs.job(0)
    for _ in range(4):
        jobs.crew.advance()
    jobs.job(1, lora_rank=8)
    jobs.to_end()
    assert packs == [1] * 4 + [2] * 2 + [1] * 4
    assert jobs.reports(1) == alone(tiny_base, tiny_data, tmp_path, lora_rank=8)


@pytest.mark.parametrize("kind", [{"use_dora": True}, {"pissa_init": True}])
def test_one_that_needs_the_base_itself_waits_and_has_it_alone(
    jobs: Jobs,
    packs: list[int],
    tiny_base: BaseModel,
    tiny_data: PreparedData,
    tmp_path: Path,
    kind: dict[str, Any],
) -> None:
    jobs.job(0)
    jobs.job(1, **kind)
    jobs.job(2)
    jobs.job(3)
    jobs.to_end()
    assert packs == [1] * 12 + [2] * 6
    assert jobs.reports(0) == jobs.reports(2) == jobs.reports(3) == alone(tiny_base, tiny_data, tmp_path)
    assert jobs.reports(1) == alone(tiny_base, tiny_data, tmp_path / "kind", **kind)


def test_a_base_with_dropout_of_its_own_is_nobodys_to_share(
    packs: list[int], tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    passes = dataclasses.replace(tiny_base.passes, own_dropout=True)
    jobs = Jobs(dataclasses.replace(roomy(tiny_base), passes=passes), tiny_data, tmp_path)
    jobs.job(0)
    jobs.job(1)
    jobs.to_end()
    assert packs == [1] * 12


# --- stops


def test_a_stop_without_saving_ends_its_job_before_the_next_pass(jobs: Jobs) -> None:
    jobs.job(0)
    jobs.job(1)
    jobs.crew.advance()
    jobs.crew.take(Stop(save=False, number=0))
    jobs.to_end()
    assert [type(message) for message in jobs.said[0]] == [Moved, Finished]
    assert len(jobs.reports(1)) == 3


def test_a_stop_with_saving_ends_all_at_their_next_evaluation_but_one_that_is_done(jobs: Jobs) -> None:
    jobs.job(0)
    jobs.job(1, evaluations=1)
    jobs.job(2, use_dora=True)
    jobs.crew.advance()
    jobs.crew.take(Stop(save=True))
    assert jobs.said[2] == [Saved()]
    jobs.to_end()
    assert [type(message) for message in jobs.said[0]] == [Moved, Moved, Report, Saved]
    assert isinstance(jobs.last(1), Finished)


def test_a_saved_job_goes_on_where_it_was(
    jobs: Jobs, tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path
) -> None:
    jobs.job(0)
    jobs.crew.advance()
    jobs.crew.take(Stop(save=True))
    jobs.to_end()
    jobs.crew.take(Job(7, tiny_config(), tmp_path / "0"))
    jobs.to_end()
    assert jobs.reports(7) == alone(tiny_base, tiny_data, tmp_path)


# --- failures


def limited(monkeypatch: pytest.MonkeyPatch, tokens: int, error: Callable[[], Exception]) -> list[int]:
    """Lets every pass of more tokens fail; returns the tokens of those that failed."""
    failed = list[int]()

    def losses(base: BaseModel, batch: MicroBatch) -> torch.Tensor:
        if batch.tokens > tokens and torch.is_grad_enabled():
            failed.append(batch.tokens)
            raise error()
        return label_losses(base, batch)

    monkeypatch.setattr("trials.passing.label_losses", losses)
    return failed


def no_memory() -> Exception:
    return torch.OutOfMemoryError("CUDA out of memory")


def test_without_memory_for_all_fewer_pass_together_and_more_are_not_tried_again(
    jobs: Jobs,
    packs: list[int],
    tiny_base: BaseModel,
    tiny_data: PreparedData,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = alone(tiny_base, tiny_data, tmp_path, lora_dropout=0.2)
    longest = max(tiny_data.train.length(i) for i in range(len(tiny_data.train)))
    failed = limited(monkeypatch, 2 * 8 * longest, no_memory)
    packs.clear()
    for number in range(4):
        jobs.job(number, lora_dropout=0.2)
    jobs.to_end()
    assert len(failed) == 1
    assert packs == [4, 1, 1, 1, 1] + [2, 2] * 5
    assert_near([jobs.reports(number) for number in range(4)], [wanted] * 4)


def test_what_did_not_fit_is_split_and_not_tried_again(
    jobs: Jobs, tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The effective batch, and so the losses, stay what they were."""
    wanted = alone(tiny_base, tiny_data, tmp_path)
    longest = max(tiny_data.train.length(i) for i in range(len(tiny_data.train)))
    failed = limited(monkeypatch, 3 * longest, no_memory)
    jobs.job(0)
    jobs.to_end()
    known = len(failed)
    assert known > 0
    assert failed == sorted(failed, reverse=True)
    jobs.job(1)
    jobs.to_end()
    assert len(failed) == known
    assert_near([jobs.reports(number) for number in (0, 1)], [wanted] * 2)


def test_a_single_row_without_memory_is_told_and_the_next_job_works(
    jobs: Jobs, tiny_data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:
        limited(context, 5, no_memory)
        context.setattr(type(jobs.crew._base.model), "supports_gradient_checkpointing", False)
        jobs.job(0, lora_rank=8)
        jobs.to_end()
    failed = jobs.last(0)
    assert isinstance(failed, Failed)
    assert failed.expected
    assert failed.message.startswith("out of memory with a single row of ")
    assert "rank 8 on q_proj, v_proj; a lower cutoff_len" in failed.message
    jobs.job(1)
    jobs.to_end()
    assert isinstance(jobs.last(1), Finished)


def test_a_single_row_without_memory_is_tried_with_activations_computed_twice(
    jobs: Jobs, tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"lora_dropout": 0.3, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
    wanted = alone(tiny_base, tiny_data, tmp_path, **settings)
    model = tiny_base.model

    def losses(base: BaseModel, batch: MicroBatch) -> torch.Tensor:
        if torch.is_grad_enabled() and not model.is_gradient_checkpointing:
            raise no_memory()
        return label_losses(base, batch)

    monkeypatch.setattr("trials.passing.label_losses", losses)
    jobs.job(0, **settings)
    try:
        jobs.to_end()
        assert model.is_gradient_checkpointing
        assert isinstance(jobs.last(0), Finished)
    finally:
        model.gradient_checkpointing_disable()
    assert_near([jobs.reports(0)], [wanted])


def test_an_unforeseen_failure_is_told_of_the_run_that_has_it_alone(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = LoraRun.take

    def broken(run: LoraRun, loss: float, batch: Any) -> None:
        if run.config.lora_rank == 3:
            raise ZeroDivisionError("by nobody")
        take(run, loss, batch)

    monkeypatch.setattr(LoraRun, "take", broken)
    jobs.job(0)
    jobs.job(1, lora_rank=3)
    with pytest.raises(BrokenError):
        jobs.to_end()
    assert 0 not in jobs.said or all(isinstance(message, Moved) for message in jobs.said[0])
    failed = jobs.last(1)
    assert isinstance(failed, Failed)
    assert (failed.message, failed.expected) == ("ZeroDivisionError: by nobody", False)


def test_an_evaluation_without_memory_is_done_in_smaller_parts(
    jobs: Jobs, tiny_base: BaseModel, tiny_data: PreparedData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = alone(tiny_base, tiny_data, tmp_path)
    failed = list[int]()

    def losses(base: BaseModel, *others: Any) -> list[float]:
        if base.room.within(1 << 30) > 100:
            failed.append(base.room.within(1 << 30))
            raise no_memory()
        return mean_losses(base, *others)

    monkeypatch.setattr(crew_module, "mean_losses", losses)
    jobs.job(0)
    jobs.to_end()
    assert failed == [1 << 30, 1024, 512, 256, 128]
    assert [report["eval_loss"] for report in jobs.reports(0)] == pytest.approx(
        [report["eval_loss"] for report in wanted], rel=0, abs=1e-5
    )


# --- what was learnt of the device's room


def test_what_had_to_be_cut_is_told_once_it_fits(
    jobs: Jobs, tiny_data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = max(tiny_data.train.length(i) for i in range(len(tiny_data.train)))
    limited(monkeypatch, 3 * longest, no_memory)
    jobs.job(0)
    jobs.to_end()
    tokens = [limits.tokens or 0 for limits in jobs.limits]
    assert tokens == sorted(tokens, reverse=True)
    assert jobs.limits[-1] == Limits(tokens=jobs.crew._base.room.tokens)


def test_what_others_learnt_is_not_tried(
    jobs: Jobs, packs: list[int], tiny_data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest = max(tiny_data.train.length(i) for i in range(len(tiny_data.train)))
    failed = limited(monkeypatch, 2 * longest, no_memory)
    jobs.crew.take(Limits(tokens=2 * longest, runs=1))
    jobs.job(0)
    jobs.job(1)
    jobs.to_end()
    assert (failed, set(packs), jobs.limits) == ([], {1}, [])


def test_one_that_fits_in_no_way_teaches_nothing_of_what_others_need(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:
        limited(context, 5, no_memory)
        jobs.job(0, lora_rank=8)
        jobs.to_end()
    failed = jobs.last(0)
    assert isinstance(failed, Failed)
    assert failed.failure is FailureClass.MEMORY
    assert (jobs.limits, jobs.crew._base.room.tokens) == ([], None)
    assert not jobs.crew._base.model.is_gradient_checkpointing


def test_memory_that_is_out_outside_of_a_pass_is_told_as_such(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(run: LoraRun, loss: float) -> Report:
        raise no_memory()

    monkeypatch.setattr(LoraRun, "report", full)
    jobs.job(0)
    with pytest.raises(BrokenError):
        jobs.to_end()
    failed = jobs.last(0)
    assert isinstance(failed, Failed)
    assert failed.failure is FailureClass.MEMORY
