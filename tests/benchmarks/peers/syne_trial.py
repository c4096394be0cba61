"""One trial, as Syne Tune starts it."""

import argparse


def main() -> None:
    """Trains what the arguments tell."""
    from syne_tune import Reporter

    from tests.benchmarks.peers.plain import load, train
    from tests.benchmarks.peers.work import Work

    parser = argparse.ArgumentParser()
    parser.add_argument("--work", required=True)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    asked, _ = parser.parse_known_args()
    work = Work.read(asked.work)
    model, data = load(work)
    say = Reporter()

    def report(number: int, loss: float) -> bool:
        say(evaluation=number, loss=loss)
        return False

    train(work, model, data, asked.rank, asked.rate, report)


if __name__ == "__main__":
    main()
