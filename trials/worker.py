"""A worker process: loads a base model and data once, then does the runs that it is given, several at once if asked.

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
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Protocol

from trials.protocol import Answer, Command, Failed, Job, Leaving, Limits, Ready, Stop, WorkerSetup

if TYPE_CHECKING:
    from trials.crew import Crew
    from trials.data import PreparedData
    from trials.model import BaseModel


class Pipe(Protocol):
    """The worker's end of what connects it with its coordinator."""

    def recv(self) -> Any:
        """Waits for a `Command`; `EOFError` or `OSError` when there is nobody any more."""
        ...

    def send(self, answer: Answer, /) -> None:
        """Says something; `OSError` when there is nobody any more."""
        ...


class Worker:
    """Answers the commands of one coordinator."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        # One whose `put` may be called by a signal's handler.
        self._commands: queue.SimpleQueue[Job | Stop | Limits | Leaving] = queue.SimpleQueue()
        self._leaving = False

    def serve(self) -> None:
        """Loads what the first message asks for, then does jobs until the pipe closes."""
        setup = self._pipe.recv()
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            base, data, ready = load(setup)
        except Exception as error:  # noqa: BLE001 - whatever it is, the coordinator must hear of it
            self._send(Failed.of(error))
            return
        self._send(ready)
        warm_up()
        from trials.crew import BrokenError, Crew

        crew = Crew(base, data, self._send)
        # A new process is the safe way on once the base model may be in any state.
        with contextlib.suppress(BrokenError):
            while True:
                while crew.idle or not self._commands.empty():
                    if crew.idle and self._leaving:
                        return
                    self._obey(crew, self._commands.get())
                crew.advance()

    def leave(self) -> None:
        """Has the worker save its jobs at their next evaluation and end; a signal's handler may call it."""
        self._commands.put(Leaving())

    def _obey(self, crew: "Crew", command: Job | Stop | Limits | Leaving) -> None:
        if not isinstance(command, Leaving):
            crew.take(command)
        elif not self._leaving:
            self._leaving = True
            self._send(command)
        if self._leaving:
            crew.take(Stop(save=True))

    def _listen(self) -> None:
        """Takes commands while jobs run. The closed pipe ends the process, in mid-step if need be."""
        while True:
            try:
                command: Command = self._pipe.recv()
            except (EOFError, OSError):
                os._exit(0)
            if isinstance(command, Job | Stop | Limits):
                self._commands.put(command)

    def _send(self, answer: Answer) -> None:
        try:
            self._pipe.send(answer)
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
    busy = None
    if setup.busy_tokens and base.device.type == "cuda" and not base.passes.own_dropout:
        from trials.busyness import busy_tokens

        busy = busy_tokens(base, data)
    return base, data, Ready(base.facts, describe_data(base, data), device, start, busy)


def warm_up() -> None:
    """Does once what the first trial would wait for, while the coordinator makes its study: imports, most of all.

    torch imports its compiler when the first optimizer is made, some seconds for nothing.
    """
    import torch

    import trials.crew  # noqa: F401
    from trials.config import TrialConfig
    from trials.lora import lora_settings
    from trials.optimizers import make_optimizer

    config = TrialConfig()
    make_optimizer({"lora_A": torch.nn.Parameter(torch.zeros(1))}, config)
    lora_settings(config, "")


def describe_data(base: "BaseModel", data: "PreparedData") -> dict[str, object]:
    """What the coordinator is told of the data, and of the tokens that tokenizer and model should both know."""
    from trials.token_checks import stopping_ids, token_facts

    tokens, checks = None, data.facts.checks
    if checks is not None:
        generation = getattr(base.model, "generation_config", None)  # not every architecture has one
        stops = stopping_ids(base.tokenizer, getattr(generation, "eos_token_id", None))
        tokens = dataclasses.asdict(token_facts(base.tokenizer, stops, base.facts.vocab_size, checks))
    return {**dataclasses.asdict(data.facts), "tokens": tokens}


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
