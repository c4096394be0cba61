"""What the dashboard shows of a study: its note and its plots, written together and not too often."""

import json
from pathlib import Path

import optuna
import plotly.graph_objects as go
import pytest
import sqlalchemy as sa
from optuna_dashboard import get_note, save_note, save_plotly_graph_object
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

from sweep.board import LEAST_SECONDS, SEAM, Board, refresh_all, write_board
from sweep.study import load_study
from sweep.sweep_storage import SweepStorage
from tests.sweep.fakes import FakeSweep, curve
from tests.sweep.synthetic import synthetic_study


def plots(study: optuna.Study) -> dict[str, str]:
    found: dict[str, str] = get_plotly_graph_objects(study._storage.get_study_system_attrs(study._study_id))
    return found


def test_a_study_gets_a_note_and_its_plots(storage: SweepStorage) -> None:
    study = synthetic_study(storage, "<b>demo</b>", 40)
    write_board(study, storage)
    note = get_note(study)
    assert "Best of " in note
    assert "- model: tiny" in note
    assert "5 evaluations" in note
    drawn = {key: json.loads(text) for key, text in plots(study).items()}
    assert {"learning-curves", "learning-rate", "rank-alpha", "compare-lora-target", "cost-parameters"} <= drawn.keys()
    assert drawn["rank-alpha"]["layout"]["title"]["text"] == "Rank and alpha"


def test_a_shorter_plot_leaves_nothing_of_the_longer_one(storage: SweepStorage) -> None:
    study = synthetic_study(storage, "demo", 60)
    longer = go.Figure(layout={"title": {"text": "x" * 90_000}})
    save_plotly_graph_object(study, longer, graph_object_id="rank-alpha")
    write_board(study, storage)
    assert json.loads(plots(study)["rank-alpha"])["layout"]["title"]["text"] == "Rank and alpha"


def test_what_people_wrote_stays(storage: SweepStorage) -> None:
    study = synthetic_study(storage, "demo", 5)
    save_note(study, "my own words")
    write_board(study, storage)
    write_board(study, storage)
    note = get_note(study)
    assert note.endswith(f"{SEAM}\nmy own words")
    assert note.count("my own words") == 1


def test_only_what_has_changed_is_written_anew(storage: SweepStorage) -> None:
    study = synthetic_study(storage, "demo", 5)
    optuna.create_study(storage=storage, study_name="of another program")
    assert refresh_all(storage) == 1
    assert refresh_all(storage) == 0
    study.enqueue_trial({"learning_rate": 1e-3})
    assert refresh_all(storage) == 1


def test_a_database_that_cannot_be_written_is_shown_as_it_is(storage: SweepStorage) -> None:
    synthetic_study(storage, "demo", 5)
    sa.event.listen(storage.engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only=ON"))
    storage.engine.dispose()
    assert refresh_all(storage) == 0
    assert plots(load_study(storage, "demo")) == {}


def test_a_trials_end_refreshes_at_most_every_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, written = [0.0], []
    monkeypatch.setattr("sweep.board.write_board", lambda *_: written.append(now[0]))
    sweep = FakeSweep(tmp_path, *[curve(3.0, 2.5)] * 4)
    board = Board(sweep.study, sweep.storage, clock=lambda: now[0])
    sweep.session.show = board.moved
    for at in (1.0, LEAST_SECONDS + 1, LEAST_SECONDS + 2, 2 * LEAST_SECONDS + 2):
        now[0] = at
        sweep.run(1)
    assert written == [LEAST_SECONDS + 1, 2 * LEAST_SECONDS + 2]
    board.finish()
    assert len(written) == 3


def test_a_short_session_leaves_it_to_the_dashboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.board.write_board", lambda *_: pytest.fail("written"))
    sweep = FakeSweep(tmp_path)
    Board(sweep.study, sweep.storage, clock=lambda: 0.0).finish()
