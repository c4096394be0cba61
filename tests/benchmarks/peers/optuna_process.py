"""A script with Optuna, and a process a trial: what many write to have each trial's memory back."""

import json
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.peers.work import RANKS, Work


def child(path: str, rank: str, rate: str) -> None:
    """Trains one trial; says each evaluation on a line, and ends when it reads that it should."""
    from tests.benchmarks.peers.plain import load, train

    work = Work.read(path)
    model, data = load(work)

    def report(number: int, loss: float) -> bool:
        print(json.dumps([number, loss]), flush=True)
        return sys.stdin.readline().strip() == "stop"

    train(work, model, data, int(rank), float(rate), report)


def main(path: str) -> None:
    """Does the work that a file tells."""
    import optuna

    work = Work.read(path)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pruner = optuna.pruners.MedianPruner() if work.prunes else optuna.pruners.NopPruner()
    sampler = optuna.samplers.GridSampler({"rank": RANKS, "rate": work.rates}, seed=0)
    storage = f"sqlite:///{Path(work.log).with_suffix('.db')}"
    study = optuna.create_study(storage=storage, sampler=sampler, pruner=pruner)

    def objective(trial: optuna.Trial) -> float:
        rank, rate = trial.suggest_categorical("rank", RANKS), trial.suggest_categorical("rate", work.rates)
        command = [sys.executable, "-m", "tests.benchmarks.peers.optuna_process", path, str(rank), repr(rate)]
        best = float("inf")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            pruned = False
            for line in process.stdout:
                number, loss = json.loads(line)
                best = min(best, loss)
                trial.report(loss, number)
                pruned = trial.should_prune()
                process.stdin.write("stop\n" if pruned else "go\n")
                process.stdin.flush()
        if pruned:
            raise optuna.TrialPruned
        return best

    study.optimize(objective, n_trials=len(work.configs))


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(sys.argv[1])
    else:
        child(*sys.argv[1:])
