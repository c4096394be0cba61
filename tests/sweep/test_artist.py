"""The process that draws the pictures."""

import os
from pathlib import Path

import psutil
import pytest

from sweep.artist import NICE, Artist, Picture, paint
from tests.sweep.fakes import curve

PNG = b"\x89PNG"


def picture(folder: Path, name: str = "curve.png") -> Picture:
    settings = {"reports": curve(3.0, 2.0), "title": "trial 7"}
    return Picture(folder / name, str(folder / "store"), folder, f"copy-of-{name}", settings)


def test_it_draws_every_picture_and_its_copy_before_it_is_finished(tmp_path: Path) -> None:
    artist, pictures = Artist(), [picture(tmp_path, f"{number}.png") for number in range(3)]
    for each in pictures:
        artist.draw(each)
    artist.finish()
    for each in pictures:
        assert each.path.read_bytes().startswith(PNG)
        assert (tmp_path / "store" / each.copy).read_bytes() == each.path.read_bytes()


def test_it_gives_way_and_leaves_no_process(tmp_path: Path) -> None:
    artist = Artist()
    artist.draw(picture(tmp_path))
    assert artist._process is not None
    process = psutil.Process(artist._process.pid)
    artist.draw(picture(tmp_path, "second.png"))
    # By the first answer it has long set its priority.
    assert artist._pipe is not None
    assert artist._pipe.poll(60)
    assert process.nice() == min(19, os.nice(0) + NICE)
    artist.finish()
    assert not process.is_running()
    artist.finish()


def test_it_can_go_on_after_it_was_finished(tmp_path: Path) -> None:
    artist = Artist()
    for name in ("first.png", "second.png"):
        artist.draw(picture(tmp_path, name))
        artist.finish()
        assert (tmp_path / name).exists()


def test_a_picture_that_cannot_be_written_is_told_at_the_end_and_the_others_are_drawn(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    artist = Artist()
    artist.draw(picture(tmp_path / "file"))
    artist.draw(picture(tmp_path))
    with pytest.raises(OSError, match="file"):
        artist.finish()
    assert (tmp_path / "curve.png").exists()


def test_a_process_that_is_killed_is_told(tmp_path: Path) -> None:
    artist = Artist()
    artist.draw(picture(tmp_path))
    assert artist._process is not None
    artist._process.kill()
    artist._process.wait()
    artist.draw(picture(tmp_path))
    assert "pictures died" in artist.finish()[0]
    assert artist.finish() == ("", "")


def test_a_store_that_fails_is_told_and_the_pictures_are_drawn(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("no folder")
    artist = Artist()
    artist.draw(picture(tmp_path))
    died, reason = artist.finish()
    assert not died
    assert reason
    assert (tmp_path / "curve.png").read_bytes().startswith(PNG)


def test_painting_says_nothing_when_all_is_well(tmp_path: Path) -> None:
    assert paint(picture(tmp_path)) is None
    (tmp_path / "file").touch()
    fault = paint(Picture(tmp_path / "a.png", str(tmp_path / "file"), tmp_path, "a", {"reports": [], "title": "t"}))
    assert fault is not None
    assert fault[1]
