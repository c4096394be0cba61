"""Syne Tune's local backend: a process a trial."""

import sys
from pathlib import Path

from tests.benchmarks.peers.work import RANKS, Work


def main() -> None:
    """Does the work that the first argument tells."""
    import logging

    from syne_tune import StoppingCriterion, Tuner
    from syne_tune.backend import LocalBackend
    from syne_tune.config_space import choice
    from syne_tune.optimizer.baselines import ASHA
    from syne_tune.optimizer.schedulers.single_objective_scheduler import SingleObjectiveScheduler

    logging.getLogger().setLevel(logging.ERROR)
    path = str(Path(sys.argv[1]).resolve())
    work = Work.read(path)
    points = [{"work": path, "rank": rank, "rate": rate} for rank, rate in work.configs]
    space = {"work": path, "rank": choice(list(RANKS))}
    space["rate"] = choice(list(work.rates))
    settings = {"config_space": space, "metric": "loss", "do_minimize": True, "random_seed": 0}
    if work.prunes:
        scheduler = ASHA(**settings, time_attr="evaluation", max_t=work.evaluations, points_to_evaluate=points)
    else:
        scheduler = SingleObjectiveScheduler(
            **settings, searcher="random_search", searcher_kwargs={"points_to_evaluate": points}
        )
    Tuner(
        trial_backend=LocalBackend(entry_point=str(Path(__file__).with_name("syne_trial.py"))),
        scheduler=scheduler,
        stop_criterion=StoppingCriterion(max_num_trials_finished=len(work.configs)),
        n_workers=1,
        sleep_time=0.1,
        save_tuner=False,
        print_update_interval=1e6,
    ).run()


if __name__ == "__main__":
    main()
