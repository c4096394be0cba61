"""Trials that end before they begin, since they break a constraint or find no memory: they do not count."""

from collections.abc import Mapping
from typing import Any

import optuna

from sweep.memory import Memory
from sweep.plan import Plan
from sweep.study import INFEASIBLE


def check_constraints(plan: Plan, trial: optuna.Trial, params: Mapping[str, Any], *, tell: bool) -> None:
    """Tells the sampler how far constraints are broken; a trial that breaks one is not trained.

    A trial that is continued has told before, and Optuna takes each constraint once.

    Raises:
        TrialPruned: It breaks one.
    """
    violations = plan.space.violations(params)
    if tell:
        for name, violation in violations.items():
            trial.set_constraint(name, violation)
    broken = sorted(name for name, violation in violations.items() if violation > 0)
    if broken:
        reason = f"not trained: breaks the constraint {', '.join(broken)}"
        trial.set_user_attr(INFEASIBLE, reason)
        raise optuna.TrialPruned(reason)


def check_memory(plan: Plan, memory: Memory, trial: optuna.Trial, params: Mapping[str, Any]) -> None:
    """A trial that the device has no memory for is not trained.

    Raises:
        TrialPruned: It has none.
    """
    misfit = memory.misfit(plan.ready.model, plan.ready.device, plan.config(params))
    if misfit:
        reason = f"not trained: {misfit}"
        trial.set_user_attr(INFEASIBLE, reason)
        raise optuna.TrialPruned(reason)
