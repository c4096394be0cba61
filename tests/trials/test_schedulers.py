"""The rate at every step of a run, for every schedule."""

import pytest
import torch

from trials.config import SCHEDULERS
from trials.schedulers import make_scheduler


def rates(name: str, warmup_ratio: float, total_steps: int) -> list[float]:
    """The rates of all steps as shares of the peak."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = make_scheduler(name, optimizer, warmup_ratio, total_steps)
    found = []
    for _ in range(total_steps):
        found.append(optimizer.param_groups[0]["lr"] / 2.0)
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("total_steps", [1, 2, 7, 40])
def test_every_schedule_warms_up_in_a_line_and_stays_within_its_peak(name: str, total_steps: int) -> None:
    found = rates(name, 0.3, total_steps)
    warm = -(-3 * total_steps // 10)
    line = [1.0] * warm if name == "constant" else [step / warm for step in range(warm)]
    assert found[:warm] == pytest.approx(line)
    assert all(0 <= rate <= 1 for rate in found)
    assert found[warm:] == sorted(found[warm:], reverse=True)


def test_warm_up_then_stable_then_a_fifth_of_decay() -> None:
    found = rates("warmup_stable_decay", 0.1, 20)
    assert found[:3] == pytest.approx([0, 0.5, 1])
    assert found[2:17] == [1.0] * 15
    assert found[17:] == pytest.approx([1 - 0.25**0.5, 1 - 0.5**0.5, 1 - 0.75**0.5])


def test_step_decay_is_the_schedule_of_the_guide() -> None:
    assert rates("step_decay", 0.0, 10) == pytest.approx([0.9**step for step in range(10)])


def test_each_group_follows_from_its_own_peak() -> None:
    parameters = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (1.0, 16.0)]
    optimizer = torch.optim.SGD(parameters)
    scheduler = make_scheduler("step_decay", optimizer, 0.0, 10)
    optimizer.step()
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.9, 14.4])
