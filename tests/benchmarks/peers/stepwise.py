"""The plain loop from one evaluation to the next, for those who call it so."""

import queue
import threading
from typing import Any

from tests.benchmarks.peers.plain import train
from tests.benchmarks.peers.work import Work
from trials.data import PreparedData


class Stepwise:
    """A trial in a thread of its own that waits at each evaluation until it is told to go on."""

    def __init__(self, work: Work, model: Any, data: PreparedData, rank: int, rate: float) -> None:
        self._losses: queue.Queue[tuple[int, float]] = queue.Queue()
        self._stops: queue.Queue[bool] = queue.Queue()
        self._last = work.evaluations
        self._thread = threading.Thread(target=train, args=(work, model, data, rank, rate, self._report), daemon=True)
        self._thread.start()
        self._waits = False

    def advance(self) -> tuple[float, bool]:
        """Trains to the next evaluation; its loss, and whether it was the last."""
        if self._waits:
            self._stops.put(False)
        number, loss = self._losses.get()
        self._waits = True
        return loss, number == self._last

    def close(self) -> None:
        """Ends the trial."""
        self._stops.put(True)
        self._thread.join()

    def _report(self, number: int, loss: float) -> bool:
        self._losses.put((number, loss))
        return self._stops.get()
