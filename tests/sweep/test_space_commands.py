"""What `sweep spaces` and `sweep space` print."""

import pytest

from spaces.load import list_spaces
from sweep.commands import space_command, spaces_command

SHIPPED = list_spaces()


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


def test_spaces_are_listed_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    spaces_command()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [space.name for space in SHIPPED]
    assert max(map(len, lines)) <= 110


@pytest.mark.parametrize("name", [space.name for space in SHIPPED])
def test_a_space_is_shown_whole(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    space_command(name)
    shown = capsys.readouterr().out
    (space,) = (space for space in SHIPPED if space.name == name)
    for knob in (*(knob.name for knob in space.search), *space.fixed, *space.derived):
        assert f"\n  {knob} " in shown
    assert f"{space.settings()[0]:,} settings" in shown
    assert "for example  stage" in shown
    assert "e-0" not in shown


def test_what_holds_otherwise_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    space_command("task_regular")
    shown = capsys.readouterr().out
    assert "alpha_ratio            1, 2   when lora_rank <= 8, else 1" in shown
    assert "learning_rate          1e-4 .. 2e-4, log" in shown
