"""A worker process: loads a base model and data once, then does one run after another.

Started as `python -m trials.worker FD`, where FD is its end of a pipe. It knows no database. When the other end
of the pipe closes, for whatever reason, it ends at once; what it had saved by then is on disk.
"""

import contextlib
import dataclasses
import logging
import os
import queue
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from trials.errors import TrialsError
from trials.protocol import Command, Failed, Finished, Job, Message, Ready, Saved, Stop, WorkerSetup

if TYPE_CHECKING:
    from trials.data import PreparedData
    from trials.model import BaseModel

# Characters of a traceback that go to the coordinator: its end says what went wrong.
DETAIL_CHARACTERS = 4000


class Worker:
    """Answers the commands of one coordinator."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._jobs: queue.Queue[Job] = queue.Queue()
        # The stop that was asked for while a job runs; None when none was.
        self._stop: Stop | None = None

    def serve(self) -> None:
        """Loads what the first message asks for, then does jobs until the pipe closes."""
        setup = self._pipe.recv()
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            base, data, ready = load(setup)
        except Exception as error:  # noqa: BLE001 - whatever it is, the coordinator must hear of it
            self._send(failure(error))
            return
        self._send(ready)
        while True:
            job = self._jobs.get()
            try:
                self._send(self._work(job, base, data))
            except Exception as error:  # noqa: BLE001 - a failed run must not end the worker in silence
                self._send(failure(error))
                if not isinstance(error, TrialsError):
                    # The base model may be in any state now: a new process is the safe way on.
                    return

    def _listen(self) -> None:
        """Takes commands while a job runs. The closed pipe ends the process, in mid-step if need be."""
        while True:
            try:
                command: Command = self._pipe.recv()
            except (EOFError, OSError):
                os._exit(0)
            if isinstance(command, Job):
                self._stop = None
                self._jobs.put(command)
            elif isinstance(command, Stop):
                self._stop = command

    def _work(self, job: Job, base: "BaseModel", data: "PreparedData") -> Message:
        from trials.run import LoraRun

        job.folder.mkdir(parents=True, exist_ok=True)
        run = LoraRun(job.config, base, data, job.folder)
        try:
            known = len(run.curve.reports)
            for count, report in enumerate(run.drive(self._send, self._should_close), start=1):
                self._send(report)
                if count > known and self._stop == Stop(save=True) and not run.done:
                    return Saved()
            return Finished(run.trainable_parameters, run.early)
        finally:
            run.close()

    def _should_close(self) -> bool:
        return self._stop == Stop(save=False)

    def _send(self, message: Message) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            os._exit(0)


def load(setup: WorkerSetup) -> "tuple[BaseModel, PreparedData, Ready]":
    """Loads model and data, out of the cache when it can.

    Raises:
        TrialsError: The model or the data set cannot be had or used.
    """
    import torch

    from trials.data import DataSpec, prepare_data
    from trials.model import find_model, load_base

    if setup.threads:
        torch.set_num_threads(setup.threads)
    if setup.merge is not None:
        from trials.merge import make_merged

        make_merged(setup.merge, setup.cache_dir, setup.trust_remote_code)
    folder, name = find_model(setup.model, setup.cache_dir)
    base = load_base(folder, name, setup.dtype, setup.trust_remote_code, setup.quantization_bit)
    spec = DataSpec(
        dataset=setup.dataset,
        stage=setup.stage,  # type: ignore[arg-type]
        cutoff_len=setup.cutoff_len,
        max_samples=setup.max_samples,
        val_size=setup.val_size,
        seed=setup.seed,
    )
    data = prepare_data(spec, base.tokenizer, base.tokenizer_fingerprint, setup.cache_dir)
    device = base.device_facts()
    start = None
    if setup.start_loss:
        from trials.start_loss import start_loss

        start = start_loss(base, data, setup.cache_dir)
    return base, data, Ready(base.facts, describe_data(base, data), device, start)


def describe_data(base: "BaseModel", data: "PreparedData") -> dict[str, object]:
    """What the coordinator is told of the data, and of the tokens that tokenizer and model should both know."""
    from trials.token_checks import stopping_ids, token_facts

    tokens, checks = None, data.facts.checks
    if checks is not None:
        generation = getattr(base.model, "generation_config", None)  # not every architecture has one
        stops = stopping_ids(base.tokenizer, getattr(generation, "eos_token_id", None))
        tokens = dataclasses.asdict(token_facts(base.tokenizer, stops, base.facts.vocab_size, checks))
    return {**dataclasses.asdict(data.facts), "tokens": tokens}


def failure(error: Exception) -> Failed:
    """What the coordinator is told of an error: our own need no traceback."""
    if isinstance(error, TrialsError):
        return Failed(str(error), "", expected=True)
    detail = traceback.format_exc()[-DETAIL_CHARACTERS:]
    return Failed(f"{type(error).__name__}: {error}", detail, expected=False)


def main() -> None:
    """Entry point: the pipe's file descriptor is the only argument."""
    # A terminal's Ctrl-C is for the coordinator, which then says how to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Connection(int(sys.argv[1]))
    quiet_libraries()
    with contextlib.suppress(EOFError):
        Worker(pipe).serve()


def quiet_libraries() -> None:
    """No progress bars and advice from the libraries: a worker's stderr is read only when it failed."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # It would say at every product with 8-bit weights that it casts.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


if __name__ == "__main__":
    main()
