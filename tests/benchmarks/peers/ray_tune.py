"""Ray Tune, one trial at a time, on actors that are used again: the model is loaded once."""

import sys
import tempfile
from typing import Any

import psutil

from tests.benchmarks.peers.work import Work


def main() -> None:
    """Does the work that the first argument tells."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    work = Work.read(sys.argv[1])

    class Trial(tune.Trainable):  # type: ignore[misc]
        """A trial whose step is the way to its next evaluation; the model stays when another follows it."""

        def setup(self, config: dict[str, Any]) -> None:
            from tests.benchmarks.peers.plain import load

            self.model, self.data = load(work)
            self.begin(config)

        def begin(self, config: dict[str, Any]) -> None:
            from tests.benchmarks.peers.stepwise import Stepwise

            self.run = Stepwise(work, self.model, self.data, *config["trial"])

        def step(self) -> dict[str, Any]:
            loss, done = self.run.advance()
            return {"loss": loss, "done": done}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.run.close()
            self.begin(new_config)
            return True

        def cleanup(self) -> None:
            self.run.close()

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            """Nothing: no trial goes on."""

        def load_checkpoint(self, checkpoint: Any) -> None:
            """Nothing: no trial goes on."""

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    scheduler = ASHAScheduler(max_t=work.evaluations) if work.prunes else None
    with tempfile.TemporaryDirectory() as folder:
        tune.Tuner(
            Trial,
            param_space={"trial": tune.grid_search(work.configs)},  # one grid: Ray orders several by their names
            tune_config=tune.TuneConfig(
                metric="loss", mode="min", scheduler=scheduler, max_concurrent_trials=1, reuse_actors=True
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
    work.say("cpu", cpu=spent())
    ray.shutdown()


def spent() -> float:
    """CPU seconds of this process and of Ray's, whose parents end without waiting for them."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(time.user + time.system + time.children_user + time.children_system for time in times)


if __name__ == "__main__":
    main()
