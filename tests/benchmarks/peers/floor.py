"""The floor: one process, the model loaded once, one trial after the other, nothing else."""

import sys

from tests.benchmarks.peers.plain import load, train
from tests.benchmarks.peers.work import Work


def main() -> None:
    """Does the work that the first argument tells."""
    work = Work.read(sys.argv[1])
    model, data = load(work)
    for rank, rate in work.configs:
        train(work, model, data, rank, rate, lambda number, loss: False)


if __name__ == "__main__":
    main()
