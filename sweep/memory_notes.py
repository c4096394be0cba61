"""Whether the settings of a space fit into a device's memory, said before the first of them is tried."""

from collections.abc import Callable
from typing import Any

from spaces.counting import first_value
from spaces.parameter import Choice, Float, Parameter
from spaces.targets import resolve_target
from sweep.errors import SweepError
from sweep.memory import Memory
from sweep.plan import Plan
from trials.config import TrialConfig


def memory_notes(plan: Plan, memory: Memory) -> list[str]:
    """What is said of settings that do not fit; nothing when all do.

    Raises:
        SweepError: Not even the smallest fits.
    """
    model, device = plan.ready.model, plan.ready.device
    least = memory.misfit(model, device, extreme(plan, min))
    if least:
        raise SweepError(
            f"nothing of space {plan.space.name} fits into {device.name}'s memory: {least}. A lower cutoff_len, "
            "quantization_bit=4 or GPUS_PER_TRIAL=2 needs less of it"
        )
    most = memory.misfit(model, device, extreme(plan, max))
    return [f"the largest settings do not fit and will not be trained: {most}"] if most else []


def extreme(plan: Plan, choose: Callable[..., Any]) -> TrialConfig:
    """The settings of a space with the smallest or the largest adapter (`min`, `max`)."""

    def size(target: object) -> int:
        modules = resolve_target(str(target), plan.ready.model.linear_modules)
        return sum(plan.ready.model.linear_sizes.get(module, 0) for module in modules)

    def pick(parameter: Parameter) -> Any:
        if parameter.name == "lora_target" and isinstance(parameter, Choice):
            return choose(parameter.options, key=size)
        if parameter.name == "lora_rank" and not isinstance(parameter, Float):
            return choose(parameter.values())
        return first_value(parameter)

    return plan.config(plan.space.walk(pick))
