"""Faults inside a worker, set off from outside by a signal: what no user ever meets.

Python imports a module `sitecustomize` from its path before anything else. The one that is written here waits in
workers alone for its signals; each has the next pass fail in one way. Nothing of the program itself knows of it.
"""

import os
import signal
import textwrap
from collections.abc import MutableMapping
from pathlib import Path

# By signal: memory is out for one pass; an error that nobody foresees; a loss that is no number; a disk that is full.
OUT_OF_MEMORY, BROKEN, NAN, FULL = signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN, signal.SIGRTMIN + 1

NOTHING = """
def before_pass(torch, batch):
    pass
"""
HOOK = """
import signal, sys

def install():
    import torch
    import trials.passing

    asked = []
    real = trials.passing.label_losses

    def label_losses(base, batch):
        if torch.is_grad_enabled():
            before_pass(torch, batch)
        if not torch.is_grad_enabled() or not asked:
            return real(base, batch)
        kind = asked.pop(0)
        if kind == {memory}:
            raise torch.OutOfMemoryError("CUDA out of memory (injected)")
        if kind == {broken}:
            raise ZeroDivisionError("injected")
        if kind == {full}:
            raise OSError(28, "No space left on device (injected)")
        return real(base, batch) * float("nan")

    trials.passing.label_losses = label_losses
    for kind in ({memory}, {broken}, {nan}, {full}):
        signal.signal(kind, lambda number, frame: asked.append(number))

if "trials.worker" in sys.orig_argv:
    # Before torch is imported a signal would end the process: it waits until it can be taken.
    signal.pthread_sigmask(signal.SIG_BLOCK, [{memory}, {broken}, {nan}, {full}])
    install()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [{memory}, {broken}, {nan}, {full}])
"""


def make_injectable(environment: MutableMapping[str, str], folder: Path, before_pass: str = NOTHING) -> None:
    """Lets workers that are started in this environment take the signals.

    Args:
        environment: A sweep's; changed.
        folder: Where the hook is written.
        before_pass: Source of a function of that name, which every training pass calls.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = {"memory": int(OUT_OF_MEMORY), "broken": int(BROKEN), "nan": int(NAN), "full": int(FULL)}
    (folder / "sitecustomize.py").write_text(textwrap.dedent(before_pass) + HOOK.format(**numbers), encoding="utf8")
    before = environment.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), before] if before else [str(folder)])
