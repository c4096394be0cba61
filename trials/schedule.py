"""At which steps a run is evaluated. Torch-free: the coordinator tells the pruner a trial's horizon by it."""

import math


def report_steps(total_steps: int, evaluations: int) -> list[int]:
    """The steps after which a run is evaluated: equal fractions of its horizon, the last step included.

    A run of fewer steps than evaluations is evaluated after every step.
    """
    count = min(evaluations, total_steps)
    return [math.ceil(total_steps * i / count) for i in range(1, count + 1)]
