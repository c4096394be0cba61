"""Values that no trial could have are refused before anything is loaded."""

from pathlib import Path

import pytest

from spaces.load import load_space
from sweep.asked import asked_space
from sweep.errors import SweepError
from sweep.field_values import whole_batch
from sweep.options import SweepOptions
from tests.sweep.fakes import make_plan, make_space
from trials.errors import ConfigError

WRONG = {
    "fixed: {cutoff_len: 2k}": "cutoff_len is '2k'",
    "fixed: {cutoff_len: [64, 128]}": "cutoff_len is [64, 128]",
    "fixed: {effective_batch_size: many}": "effective_batch_size is 'many'",
    "fixed: {effective_batch_size: 0}": "effective_batch_size is '0'",
    "fixed: {use_dora: 1}": "use_dora is 1; allowed: true, false",
    "search: {effective_batch_size: {choice: [8, many]}}": "effective_batch_size is 'many'",
    "search: {lr_scheduler_type: {choice: [cosine, cosin]}}": "lr_scheduler_type is 'cosin'",
    "search: {lora_rank: {float: [8, 16]}}": "lora_rank is 8.0; allowed: a whole number",
    "search: {learning_rate: {float: [0, 1]}}": "learning_rate is 0.0; allowed: a number above 0",
    "search: {warmup_ratio: {float: [0, 0.5], when: lora_rank > 8, else: 2}, lora_rank: {choice: [8]}}": "ratio is 2",
}


@pytest.mark.parametrize("text", WRONG)
def test_a_value_that_no_trial_could_have(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"stage: sft\n{text}\n", encoding="utf8")
    with pytest.raises(SweepError) as refusal:
        asked_space(SweepOptions(space=str(file)))
    assert WRONG[text] in str(refusal.value)
    assert str(file) in str(refusal.value)


def test_what_is_set_is_checked_too() -> None:
    with pytest.raises(SweepError, match=r"effective_batch_size is '8\.5'"):
        asked_space(SweepOptions(space="sft_lora", assignments=("effective_batch_size=8.5",)))


def test_shipped_spaces_pass() -> None:
    for name in ("sft_lora", "pt_lora", "low_memory", "max_performance"):
        assert asked_space(SweepOptions(space=name)) == load_space(name)


def test_a_derived_batch_is_a_whole_number_or_refused() -> None:
    assert whole_batch(16.0) == 16
    space = make_space("stage: sft\nfixed: {lora_rank: 8}\nderived: {effective_batch_size: lora_rank / 3}")
    with pytest.raises(ConfigError, match=r"effective_batch_size is '2\.66"):
        make_plan(space).config(space.walk(lambda knob: 0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": 2**32}, "SEED is 4294967296"),
        ({"seeds": 10**30}, "SEEDS is 1000000000000000000000000000000"),
        ({"seeds": 0}, "SEEDS is 0; allowed: a whole number of at least 1"),
    ],
)
def test_seeds_have_bounds(options: dict[str, int], words: str) -> None:
    with pytest.raises(SweepError, match=words):
        SweepOptions(space="sft_lora", **options)  # type: ignore[arg-type]
