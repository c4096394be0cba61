"""Grids and confirmations as a user runs them: interrupted, gone on with, compared, exported."""

import signal

import pytest

from tests.end_to_end.driver import Driver

pytestmark = pytest.mark.slow

GRID = ("--design", "factorial", "--over", "ratio,lora_rank", "--seeds", "2", "--set", "effective_batch_size=8")
SMALL = (*GRID, "--set", "lora_rank=8,16", "--set", "learning_rate=3e-3")


def test_an_interrupted_grid_goes_on_and_has_every_cell_once(driver: Driver) -> None:
    process = driver.start(*driver.sweep_arguments(*SMALL))
    read = driver.wait_for_line(process, "trial 2", "1 of 5")
    assert "design factorial: 4 settings × 2 seeds; held: lora_target all, warmup_ratio 0.1" in read
    process.send_signal(signal.SIGINT)
    status, output = driver.finish(process)
    assert status == 130, output
    status, output = driver.run(*driver.sweep_arguments(*SMALL))
    assert status == 0, output
    cells = driver.query(
        "select lora_rank, lora_alpha, json_extract(config, '$.seed') from sweep_trials order by 3, 1, 2"
    )
    expected = [(rank, rank * ratio, seed) for seed in (42, 43) for rank in (8, 16) for ratio in (1, 2)]
    assert cells == expected
    assert driver.query("select distinct state from trials") == [("COMPLETE",)]
    status, output = driver.run("compare", "sft_lora-factorial", "--by", "ratio")
    assert status == 0
    assert "held fixed: lora_rank, seed" in output
    assert "(4 pairs)" in output


def test_a_grid_and_a_search_are_not_mixed(driver: Driver) -> None:
    status, output = driver.run(*driver.sweep_arguments(*SMALL, "--n-trials", "1", "--study", "one"))
    assert status == 0, output
    status, output = driver.run(*driver.sweep_arguments("--study", "one"))
    assert status == 2
    assert "study 'one' was made with another design (factorial, now tpe); losses would not compare" in output


def test_leaders_are_confirmed_and_the_setting_to_use_is_exported(driver: Driver) -> None:
    search = ("--n-trials", "4", "--pruner", "none", "--set", "learning_rate=1e-4..1e-1")
    status, output = driver.run(*driver.sweep_arguments(*search))
    assert status == 0, output
    assert "sweep confirm sft_lora" in output
    status, output = driver.run("confirm", "sft_lora", "--top", "2", "--seeds", "2", "--gpus", "cpu")
    assert status == 0, output
    assert "Leaders of sft_lora at seeds 43, 44, which its search did not use:" in output
    assert "Winner: trial" in output or "No winner: 2 of 2 cannot be told apart" in output
    split = driver.query(
        "select distinct json_extract(config, '$.seed') from sweep_trials where study_name='sft_lora-confirm'"
    )
    assert sorted(split) == [(43,), (44,)]
    status, output = driver.run("export", "sft_lora-confirm")
    assert status == 0, output
    assert (driver.folder / "exports" / "sft_lora-confirm" / "train.yaml").is_file()
    # The same line again has nothing left to run and says the same.
    status, again = driver.run("confirm", "sft_lora", "--top", "2", "--seeds", "2", "--gpus", "cpu")
    assert status == 0
    assert "4 of 4 done" in again
    assert driver.query("select count(*) from sweep_trials where study_name='sft_lora-confirm'") == [(4,)]


def test_a_study_that_is_not_there_cannot_be_confirmed(driver: Driver) -> None:
    driver.run(*driver.sweep_arguments("--n-trials", "1"))
    for arguments, words in (
        (("confirm", "sft_lara"), "no study named 'sft_lara'. Did you mean sft_lora?"),
        (("confirm", "sft_lora"), "study 'sft_lora' has 1 complete trial of different settings"),
        (("confirm", "sft_lora", "--top", "1"), "--top is 1"),
    ):
        status, output = driver.run(*arguments)
        assert (status, words in output, output.count("\n") <= 2) == (2, True, True), output
