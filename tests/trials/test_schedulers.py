"""The rate at every step of a run, for every schedule."""

import pytest
import torch

from trials.config import SCHEDULERS
from trials.schedule import rate_share, warmup_steps
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


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("total_steps", [1, 2, 7, 40, 333])
@pytest.mark.parametrize("warmup_ratio", [0.0, 0.03, 0.3, 0.95, 1.0])
def test_the_share_without_torch_is_the_one_that_is_set(name: str, total_steps: int, warmup_ratio: float) -> None:
    warmup = warmup_steps(warmup_ratio, total_steps)
    shares = [rate_share(name, step, warmup, total_steps) for step in range(total_steps)]
    assert shares == pytest.approx(rates(name, warmup_ratio, total_steps), rel=1e-12, abs=1e-12)


def test_so_it_is_in_a_full_run_of_step_decay() -> None:
    """Whose drops are counted otherwise from 10,000 steps on."""
    shares = [rate_share("step_decay", step, 500, 10_000) for step in range(10_000)]
    assert shares == pytest.approx(rates("step_decay", 0.05, 10_000), rel=1e-12)


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
