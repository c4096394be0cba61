"""A folder that is made once, whole or not at all."""

import threading
from pathlib import Path

import pytest

from trials.making import make_once


def test_it_is_made_once_with_its_parents(tmp_path: Path) -> None:
    made: list[Path] = []

    def fill(part: Path) -> None:
        (part / "file").write_text("content")
        made.append(part)

    for _ in range(2):
        make_once(tmp_path / "a" / "b", fill)
    assert len(made) == 1
    assert (tmp_path / "a" / "b" / "file").read_text() == "content"
    assert made[0] != tmp_path / "a" / "b"
    assert not made[0].exists()


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fill(part: Path) -> None:
        (part / "file").write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        make_once(tmp_path / "b", fill)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    seen: list[Path] = []

    def half(part: Path) -> None:
        seen.append(part)
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011 - only to learn where the part lies
        make_once(tmp_path / "b", half)
    seen[0].mkdir()
    (seen[0] / "left over").touch()
    make_once(tmp_path / "b", lambda part: (part / "file").touch())
    assert [path.name for path in (tmp_path / "b").iterdir()] == ["file"]


def test_of_two_that_ask_at_once_one_makes_it(tmp_path: Path) -> None:
    inside, second, made = threading.Event(), threading.Event(), []

    def fill(part: Path) -> None:
        made.append(part)
        inside.set()
        second.wait(0.5)  # the other one has the time to do it too, if nothing keeps it

    def other() -> None:
        inside.wait()
        make_once(tmp_path / "b", fill)
        second.set()

    thread = threading.Thread(target=other)
    thread.start()
    make_once(tmp_path / "b", fill)
    thread.join()
    assert len(made) == 1
