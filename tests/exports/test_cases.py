"""What `make check-exports` covers; it makes its own environment, and is no part of `make test`."""

from pathlib import Path

from spaces.load import list_spaces
from tests.exports.cases import cases
from trials.config import QUANTIZATION_BITS, SCHEDULERS


def test_every_space_and_schedule_is_exported_to_be_read(tmp_path: Path) -> None:
    made = list(cases(tmp_path))
    assert {case.name.removeprefix("space-").rsplit("-", 1)[0] for case in made if case.params} == {
        space.name for space in list_spaces()
    }
    assert {case.config.get("lr_scheduler_type") for case in made} >= set(SCHEDULERS)
    assert all(case.config["max_rows"] for case in made if case.params), "trials are short, exports must not be"
    assert {case.config.get("quantization_bit") for case in made} >= set(QUANTIZATION_BITS)
    assert len({case.name for case in made}) == len(made)
