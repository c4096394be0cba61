"""What is recorded for the bench of pruners: fair prefixes, equal rows, enough evaluations, and how it goes on."""

import json
from pathlib import Path

import pytest

from tests.benchmarks.curve_pools import POOLS, Pool, config, draw, seeds
from tests.benchmarks.docstrings import signatures
from tests.benchmarks.record_curves import recorded
from trials.schedule import report_steps

MODULES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@pytest.mark.parametrize("pool", POOLS.values(), ids=lambda pool: pool.name)
def test_every_configuration_sees_as_many_rows_and_is_evaluated_as_often(pool: Pool) -> None:
    for index in range(60):
        knobs = draw(pool, index)
        made = config(pool, knobs, 1, MODULES, micro=8)
        rows = pool.training_rows(knobs)
        steps = made.total_steps(rows)
        assert steps * made.effective_batch_size == pool.rows
        assert len(report_steps(steps, made.evaluations)) == pool.evaluations >= 15
        assert pool.evaluation_rows >= 100


@pytest.mark.parametrize("pool", POOLS.values(), ids=lambda pool: pool.name)
def test_all_of_the_widened_space_is_drawn(pool: Pool) -> None:
    drawn = [draw(pool, index) for index in range(300)]
    assert {knobs["lora_rank"] for knobs in drawn} == set(pool.ranks)
    assert {knobs["effective_batch_size"] for knobs in drawn} == set(pool.batches)
    assert {knobs["num_train_epochs"] for knobs in drawn} == set(pool.epochs)
    assert {knobs["lora_target"] for knobs in drawn} == {"qv", "attention", "mlp", "all"}
    assert {knobs["alpha_ratio"] for knobs in drawn} == {1, 2}
    low, high = pool.rates
    rates = sorted(knobs["learning_rate"] for knobs in drawn)
    assert low <= rates[0] < 2 * low
    assert high / 2 < rates[-1] <= high


def test_a_third_is_run_at_two_seeds() -> None:
    assert [len(seeds(index)) for index in range(6)] == [2, 1, 1, 2, 1, 1]


def test_recording_goes_on_after_a_line_that_a_kill_left_half(tmp_path: Path) -> None:
    path = tmp_path / "small.jsonl"
    assert recorded(path) == set()
    whole = json.dumps({"index": 3, "seed": 2}) + "\n"
    path.write_text(whole + '{"index": 4, "se', encoding="utf8")
    assert recorded(path) == {(3, 2)}
    assert path.read_text(encoding="utf8") == whole


def test_signatures_are_read_from_source_tests_left_out(tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    source = 'def rewind(self, by=1):\n    """Goes back to the start.\n\n    By some."""\n'
    (tmp_path / "tape.py").write_text(source + 'def _hidden():\n    """Does what nobody calls."""\n', encoding="utf8")
    (tmp_path / "bare.py").write_text("def silent():\n    pass\n", encoding="utf8")
    (tmp_path / "broken.py").write_text("def (:\n", encoding="utf8")
    (tmp_path / "test" / "test_tape.py").write_text(source.replace("rewind", "forward"), encoding="utf8")
    assert signatures(tmp_path) == [("rewind(self, by=1)", "Goes back to the start.")]
