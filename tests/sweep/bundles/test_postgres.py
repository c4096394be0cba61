"""From SQLite into PostgreSQL and back, by the same commands."""

from pathlib import Path

import pytest

from sweep.bundles.pack import pack
from sweep.bundles.unpack import unpack
from sweep.errors import SweepError
from sweep.storage import open_storage
from tests.postgres import PASSWORD
from tests.sweep.bundles.studies import at_rest, files_below, told
from tests.sweep.fakes import FakeSweep

pytestmark = pytest.mark.postgres


def test_there_and_back(played: FakeSweep, bundle: Path, postgres_url: str, tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    unpack(bundle, postgres_url, tmp_path / "there")
    there = open_storage(postgres_url, create=False)
    expected = at_rest(told(played.storage))
    assert told(there) == expected
    with pytest.raises(SweepError, match="there is a study named 'demo' already"):
        unpack(bundle, postgres_url, tmp_path / "there")
    # What is begun there gets the next number and id.
    assert there.create_new_trial(there.get_study_id_from_name("demo")) > 0
    pack(there, "demo", tmp_path / "there", tmp_path / "back.tar")
    assert PASSWORD.encode() not in (tmp_path / "back.tar").read_bytes()
    unpack(tmp_path / "back.tar", str(tmp_path / "back.db"), tmp_path / "back")
    back = told(open_storage(str(tmp_path / "back.db"), create=False))
    assert back.trials.pop()["number"] == 6
    assert back == expected
    assert files_below(tmp_path / "back") == files_below(tmp_path / "there")
    for text in files_below(tmp_path):
        assert PASSWORD not in text
    there.engine.dispose()
