"""The runs that one worker has in hand: which pass together, and what is told of each.

Knows runs and passes, and no pipe: what it has to say goes to the function that it is given.
"""

from collections import deque
from collections.abc import Callable, Sequence

from trials.batches import EVALUATION_TOKENS
from trials.data import PreparedData
from trials.errors import MemoryShortError, TrialsError
from trials.memory import free_unused, is_out_of_memory
from trials.model import BaseModel
from trials.passing import mean_losses, pass_together
from trials.protocol import Failed, Finished, Job, Limits, Message, Saved, Stop, Told
from trials.quantization import checkpoint_activations, checkpoints_activations, keep_activations
from trials.run import LoraRun, needs_base


class BrokenError(Exception):
    """A run failed in a way that nobody foresaw: the base may be in any state now."""


class Member:
    """A run and the job that it is done for."""

    def __init__(self, job: Job, run: LoraRun) -> None:
        self.job, self.run = job, run
        self.saves = False


class Crew:
    """Advances its runs together, a step of the soonest at a time."""

    def __init__(self, base: BaseModel, data: PreparedData, tell: Callable[[Told | Limits], None]) -> None:
        self._base, self._data, self._tell = base, data, tell
        self._waiting: deque[Job] = deque()
        self._members: list[Member] = []
        # Runs of one pass at most, once more did not fit.
        self._at_once: int | None = None
        self._checkpointing = checkpoints_activations(base.model)
        # Those that everyone knows: what a run that fails at its smallest made of them says nothing of other runs.
        self._known = self._limits()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do."""
        return not self._waiting and not self._members

    def take(self, command: Job | Stop | Limits) -> None:
        """Takes a job, or stops one or all of them; what has not begun is let go at once. Or takes others' limits."""
        if isinstance(command, Job):
            self._waiting.append(command)
            return
        if isinstance(command, Limits):
            self._narrow(command)
            return
        for job in [job for job in self._waiting if command.number in (None, job.number)]:
            self._waiting.remove(job)
            self._answer(job, Saved() if command.save else Finished(0, early=False))
        for member in [member for member in self._members if command.number in (None, member.job.number)]:
            if command.save:
                member.saves = True
            else:
                self._end(member, Finished(member.run.trainable_parameters, early=False))

    def advance(self) -> None:
        """Begins what can begin, and does one pass of every run, with the evaluations that are due after it.

        Raises:
            BrokenError: Something failed that was not foreseen; whose job it was has been told.
        """
        self._admit()
        before = {member.job.number: member.run.step for member in self._members}
        members, at_once = list(self._members), self._at_once or len(self._members)
        for begin in range(0, len(members), max(1, at_once)):
            self._pass(members[begin : begin + at_once])
        moved = [member for member in self._members if member.run.step > before[member.job.number]]
        for member in moved:
            self._answer(member.job, member.run.moved())
        self._evaluate([member for member in moved if member.run.is_due])

    def _admit(self) -> None:
        """Begins waiting jobs in their order; one that needs the base for itself waits until it has it."""
        while self._waiting and not (self._members and self._alone(self._waiting[0], *self._members_jobs())):
            job = self._waiting.popleft()
            try:
                job.folder.mkdir(parents=True, exist_ok=True)
                member = Member(job, LoraRun(job.config, self._base, self._data, job.folder))
            except Exception as error:  # noqa: BLE001 - whatever it is, the coordinator must hear of it
                self._fail(job, error)
                continue
            self._members.append(member)
            for report in member.run.curve.reports:
                self._answer(job, report)
            if member.run.done:
                self._finish(member)

    def _members_jobs(self) -> list[Job]:
        return [member.job for member in self._members]

    def _alone(self, *jobs: Job) -> bool:
        """Whether these cannot all share passes."""
        return self._base.passes.own_dropout or any(needs_base(job.config) for job in jobs)

    def _pass(self, members: Sequence[Member]) -> None:
        """One pass of these together; each on its own when that fails."""
        begun = {member.job.number: member.run.step for member in members}
        try:
            pass_together(self._base, [member.run for member in members])
            self._tell_limits()
            return
        except Exception as error:  # noqa: BLE001 - it is told, or done again with less
            failed = error.with_traceback(None)  # whose frames hold the pass's tensors
        free_unused()
        again = [member for member in members if member.run.step == begun[member.job.number]] or list(members)
        for member in again:
            member.run.restart_window()
        if len(members) > 1:
            if is_out_of_memory(failed):
                self._at_once = len(members) // 2
            for member in again:
                self._pass([member])
        elif is_out_of_memory(failed) and self._smaller(again[0].run):
            self._pass(again)
        else:
            if is_out_of_memory(failed):
                self._widen()
            self._members.remove(again[0])
            self._fail(again[0].job, _explained(failed, again[0].run), again[0].run)

    def _smaller(self, run: LoraRun) -> bool:
        """Makes a pass need less: half the tokens, and for a single row activations computed twice; False if it has."""
        if run.passed_rows > 1:
            self._base.room.halve(run.passed_tokens)
            return True
        return self._checkpoint()

    def _limits(self) -> Limits:
        return Limits(self._base.room.tokens, self._at_once, self._checkpointing)

    def _tell_limits(self) -> None:
        """Tells what a pass had to be cut to, now that it has fitted."""
        if (limits := self._limits()) != self._known:
            self._known = limits
            self._tell(limits)

    def _narrow(self, others: Limits) -> None:
        """Takes what other workers have learnt."""
        joined = self._limits().joined(others)
        self._base.room.tokens, self._at_once = joined.tokens, joined.runs
        if joined.checkpointing:
            self._checkpoint()
        self._known = self._limits()

    def _widen(self) -> None:
        """Goes back to what everyone knows."""
        self._base.room.tokens, self._at_once = self._known.tokens, self._known.runs
        if self._checkpointing and not self._known.checkpointing:
            keep_activations(self._base.model)
            self._checkpointing = False

    def _checkpoint(self) -> bool:
        """Has activations computed twice; whether that is new."""
        new = checkpoint_activations(self._base.model)
        self._checkpointing = self._checkpointing or new
        return new

    def _evaluate(self, members: Sequence[Member]) -> None:
        """Evaluates these together, and reports each."""
        if not members:
            return
        try:
            # One whose adapter is in the base itself is here alone.
            losses = mean_losses(self._base, self._data.evaluation, [member.run.shared_weights for member in members])
        except Exception as error:  # noqa: BLE001 - it is told, or done again with less
            tokens = self._base.room.within(EVALUATION_TOKENS)
            if not is_out_of_memory(error) or tokens == 1:
                self._members.remove(members[0])
                self._fail(members[0].job, error, members[0].run)
        else:
            self._tell_limits()
            for member, loss in zip(members, losses, strict=True):
                self._report(member, loss)
            return
        free_unused()
        self._base.room.halve(tokens)
        self._evaluate(members)

    def _report(self, member: Member, loss: float) -> None:
        try:
            report = member.run.report(loss)
        except Exception as error:  # noqa: BLE001 - a full disk, say
            self._members.remove(member)
            self._fail(member.job, error, member.run)
            return
        self._answer(member.job, report)
        if member.run.done:
            self._finish(member)
        elif member.saves:
            self._end(member, Saved())

    def _finish(self, member: Member) -> None:
        self._end(member, Finished(member.run.trainable_parameters, member.run.early))

    def _end(self, member: Member, message: Message) -> None:
        self._members.remove(member)
        member.run.close()
        self._answer(member.job, message)

    def _fail(self, job: Job, error: Exception, run: LoraRun | None = None) -> None:
        if run is not None and isinstance(error, TrialsError):
            run.close()
        self._answer(job, Failed.of(_told(error)))
        if not isinstance(error, TrialsError):
            raise BrokenError from error

    def _answer(self, job: Job, message: Message) -> None:
        self._tell(Told(job.number, message))


def _told(error: Exception) -> Exception:
    """An error of the libraries' own that says that memory is out, as ours; any other as it is."""
    if isinstance(error, TrialsError) or not is_out_of_memory(error):
        return error
    return MemoryShortError(f"out of memory outside of its passes: {str(error).splitlines()[0][:200]}")


def _explained(error: Exception, run: LoraRun) -> Exception:
    """What is told of memory that is out for one row: that nothing smaller can be tried."""
    if not is_out_of_memory(error):
        return error
    return MemoryShortError(
        f"out of memory with a single row of {run.passed_tokens} tokens and rank {run.config.lora_rank} on "
        f"{', '.join(run.config.lora_target)}; a lower cutoff_len or quantization_bit needs less"
    )
