"""Comparisons of real runs (35 models, learning rate × rank) against what the table says when it is read by hand.

What is expected is computed here from the file's own lines, with nothing of `sweep`.
"""

import csv
import itertools
import statistics
from collections import defaultdict
from pathlib import Path

import pytest

from sweep.compare import compare, restrict
from sweep.compare_study import ended_trials
from sweep.comparison import Comparison
from sweep.importing import identity, import_table, study_name
from sweep.observations import Ended, Observation, observe
from sweep.results import Results
from sweep.run_table import RunTable, read_table
from sweep.sweep_storage import SweepStorage

FILE = Path(__file__).parents[1] / "data" / "lora_lr_rank_grid.csv"
Cells = dict[tuple[int, float], list[float]]


def by_hand() -> dict[str, Cells]:
    """For each model the losses of each rank and learning rate."""
    found: dict[str, Cells] = defaultdict(lambda: defaultdict(list))
    with FILE.open(encoding="utf8") as file:
        for row in csv.DictReader(file):
            found[row["model"]][int(row["lora_rank"]), float(row["learning_rate"])].append(float(row["test_nll"]))
    return found


CELLS = by_hand()


def observations(table: RunTable) -> list[Observation]:
    rows = enumerate(zip(table.knobs, table.losses, strict=True))
    return observe([Ended(number, knobs, [], loss, [], pruned=False) for number, (knobs, loss) in rows])


def of_model(model: str) -> list[Observation]:
    return observations(read_table(FILE, where=[f"model={model}"]))


def of_all() -> list[Observation]:
    return observations(read_table(FILE, extra=["model"]))


def effect(found: Comparison, label: str) -> tuple[float, str, int]:
    level = next(level for level in found.levels if level.label == label)
    assert level.effect is not None
    return level.effect.difference, level.verdict, level.effect.basis


def differences(rank: int, reference: int, rate: float) -> list[float]:
    """Of every model that has both ranks at a learning rate."""
    return [
        statistics.mean(cells[rank, rate]) - statistics.mean(cells[reference, rate])
        for cells in CELLS.values()
        if (rank, rate) in cells and (reference, rate) in cells
    ]


def test_the_table_is_the_one_that_is_meant() -> None:
    assert len(CELLS) == 35
    assert sum(map(len, CELLS.values())) == 482
    assert sum(len(losses) == 2 for cells in CELLS.values() for losses in cells.values()) == 66


@pytest.mark.parametrize("model", list(CELLS))
def test_each_levels_best_learning_rate_is_the_tables(model: str) -> None:
    cells = CELLS[model]
    expected = {
        str(rank): min((min(losses), rate) for (other, rate), losses in cells.items() if other == rank)
        for rank in {rank for rank, _ in cells}
    }
    found = compare(of_model(model), "lora_rank")
    assert {level.label: (level.best, level.best_rate) for level in found.levels} == expected


def test_the_best_learning_rate_hardly_moves_with_the_rank() -> None:
    """Within a factor of four, which is a step of the common grid (4e-5, 1e-4, 3e-4, 1e-3), in 33 of 35 models.

    Counted in steps of each model's own grid, some of them a factor of two, it is 32; the three that move further have
    cells missing at just those ranks. All 24 models without a missing cell move by one step at most.
    """
    factors, moved = {}, {}
    for model, cells in CELLS.items():
        steps = sorted({rate for _, rate in cells})
        best = [level.best_rate for level in compare(of_model(model), "lora_rank").levels if level.best_rate]
        factors[model] = max(best) / min(best)
        moved[model] = steps.index(max(best)) - steps.index(min(best))
    assert sum(factor < 4.01 for factor in factors.values()) == 33
    far = {model for model, steps in moved.items() if steps > 1}
    assert far == {
        "deepseek-ai/DeepSeek-V3.1-Base",
        "moonshotai/Kimi-K2.5",
        "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16",
    }
    whole = {
        model
        for model, cells in CELLS.items()
        if len(cells) == len({rank for rank, _ in cells}) * len({rate for _, rate in cells})
    }
    assert len(whole) == 24
    assert not far & whole


@pytest.mark.parametrize("rank", [1, 4, 64, 128])
def test_rank_hardly_matters_at_a_low_rate_and_does_at_a_high_one(rank: int) -> None:
    """Against rank 16, within models: at 4e-5 less than a thousandth, at 1e-3 at least five times more, and certain."""
    effects = {}
    for rate in (4e-5, 1e-3):
        found = compare(restrict(of_all(), [f"learning_rate={rate}"]), "lora_rank", "16")
        assert found.method == "paired"
        assert found.held == ("model",)
        by_hand = differences(rank, 16, rate)
        effects[rate] = effect(found, str(rank))
        assert effects[rate][0] == pytest.approx(statistics.mean(by_hand))
        assert effects[rate][2] == len(by_hand)
    assert abs(effects[4e-5][0]) < 1e-3
    assert abs(effects[1e-3][0]) > 5e-3
    assert effects[1e-3][1] == ("worse" if rank < 16 else "better")
    if rank > 16:
        assert effects[4e-5][1] == "not distinguishable"


def test_the_repeats_give_the_noise() -> None:
    twice = [losses for cells in CELLS.values() for losses in cells.values() if len(losses) == 2]
    expected = statistics.mean((a - b) ** 2 / 2 for a, b in twice) ** 0.5
    found = compare(of_all(), "lora_rank", "16")
    assert found.repeats == len(twice) == 66
    assert found.noise == pytest.approx(expected)


@pytest.mark.parametrize("model", list(CELLS))
def test_no_verdict_within_the_noise_or_on_few_pairs(model: str) -> None:
    cells = CELLS[model]
    twice = [losses for losses in cells.values() if len(losses) == 2]
    noise = statistics.mean((a - b) ** 2 / 2 for a, b in twice) ** 0.5 if twice else 0.0
    for by, place in (("lora_rank", 0), ("learning_rate", 1)):
        found = compare(of_model(model), by)
        for level in found.levels:
            if level.verdict not in ("better", "worse") or level.effect is None:
                continue
            its, mine = (
                next(v for v in {c[place] for c in cells} if f"{v:g}" == f"{float(label):g}")
                for label in (found.reference, level.label)
            )
            pairs = [
                statistics.mean(losses) - statistics.mean(cells[other])
                for cell, losses in cells.items()
                if cell[place] == mine and (other := (its, cell[1]) if place == 0 else (cell[0], its)) in cells
            ]
            assert level.effect.basis == len(pairs) >= 3
            assert level.effect.difference == pytest.approx(statistics.mean(pairs))
            # A verdict is a difference beyond the standard error that repeats alone would give, 1.96 times.
            assert abs(statistics.mean(pairs)) > 1.96 * noise / len(pairs) ** 0.5


def test_neighbouring_rates_far_apart_in_loss_are_told_apart() -> None:
    """4e-5 is worse than 1e-4 at every rank of every model: where there are three ranks, the verdict must say so."""
    told = 0
    for model, cells in CELLS.items():
        pairs = [rank for rank, rate in cells if rate == 4e-5 and (rank, 1e-4) in cells]
        assert all(min(cells[rank, 4e-5]) > max(cells[rank, 1e-4]) for rank in pairs)
        if len(pairs) >= 3:
            assert effect(compare(of_model(model), "learning_rate", "1e-4"), "4e-5")[1] == "worse"
            told += 1
    assert told >= 25


def test_all_of_it_goes_through_a_study(storage: SweepStorage) -> None:
    """The way of the command line for three of the models; the others differ in numbers only."""
    for model in itertools.islice(CELLS, 3):
        table = read_table(FILE, where=[f"model={model}"])
        name = study_name(table)
        import_table(storage, name, table)
        results = Results(storage.engine, name)
        runs = observe(ended_trials(results.curves(), results.trials(), identity(table)["space"]["resolved"]))
        assert compare(runs, "lora_rank") == compare(of_model(model), "lora_rank")
