"""A study's report, as a page, as Markdown and as pictures."""

import base64
import gzip
import itertools
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from plotly.offline import get_plotlyjs
from typer.testing import CliRunner

from sweep.cli import app
from sweep.comparison import Comparison
from sweep.errors import SweepError
from sweep.importing import import_table
from sweep.report.answer import answer
from sweep.report.content import Content, read_content
from sweep.report.page import page
from sweep.report.pictures import write_pictures
from sweep.report.wiki import markdown
from sweep.report_command import report_command
from sweep.run_table import read_table
from sweep.study import load_study
from sweep.sweep_storage import SweepStorage
from tests.sweep.fakes import trial_row
from tests.sweep.synthetic import synthetic_study

NASTY = "</script><img src=x onerror=alert(1)> $x^2$ `|` & co"
GRID = Path(__file__).parents[2] / "data" / "lora_lr_rank_grid.csv"


class Page(HTMLParser):
    """What a page holds, as a browser takes it apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.shown: list[str] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = str(dict(attrs).get("id") or "script") if tag in ("script", "style") else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.scripts[self._inside] = self.scripts.get(self._inside, "") + data
        else:
            self.shown.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def content_of(storage: SweepStorage, tmp_path: Path, name: str = "demo", trials: int = 40, **more: Any) -> Content:
    study = synthetic_study(storage, name, trials, **more)
    return read_content(storage, study, str(tmp_path / "storage.db"), tmp_path / "runs")


def test_the_page_needs_nothing_else_and_holds_plotly_once(storage: SweepStorage, tmp_path: Path) -> None:
    content = content_of(storage, tmp_path)
    text = page(content)
    found = Page(text)
    addresses = [
        value for _, attributes in found.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert set(addresses) == {"data:,", "#answer"}
    (policy,) = [meta["content"] for meta in found.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert str(policy).startswith("default-src 'none'; ")
    assert gzip.decompress(base64.b64decode(found.scripts["plotly"])).decode() == get_plotlyjs()
    assert text.count(found.scripts["plotly"][:200]) == 1
    figures = json.loads(found.scripts["figures"])
    assert len(figures) == len(content.plots) == len(found.all("figure"))
    assert all("template" not in figure["layout"] for figure in figures)


def test_the_page_can_be_used_without_eyes(storage: SweepStorage, tmp_path: Path) -> None:
    content = content_of(storage, tmp_path)
    found = Page(page(content))
    assert found.all("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))
    assert len(found.all("caption")) == len(found.all("table")) > 2
    assert {cell.get("scope") for cell in found.all("th")} == {"col", "row"}
    drawn = [element for element in found.all("div") if element.get("class") == "plot"]
    assert [element["aria-label"] for element in drawn] == [f"{plot.title}: {plot.finding}" for plot in content.plots]
    assert all(element["role"] == "img" for element in drawn)
    # What can be scrolled can be reached with the keyboard.
    assert all(element["tabindex"] == "0" for element in found.all("div") if "wide" in str(element.get("class")))


def test_a_name_with_markup_is_harmless(storage: SweepStorage, tmp_path: Path) -> None:
    content = content_of(storage, tmp_path, name=NASTY, trials=8)
    found = Page(page(content))
    assert not found.all("img")
    assert NASTY in found.shown  # the heading, letter by letter
    assert len(found.all("script")) == 4
    told = markdown(content)
    assert "<img" not in told.replace("\\<img", "").split("```")[0]
    assert told.startswith("# \\<")


def test_the_report_says_what_was_found(storage: SweepStorage, tmp_path: Path) -> None:
    content = content_of(storage, tmp_path)
    best = min((row for row in content.ranking.lines if row[0] == "1"), key=lambda row: row[2])
    assert f"Trial {best[1]} reached an evaluation loss of {best[2]}" in content.answer[0]
    for text in (page(content), markdown(content)):
        for words in ("space", "tiny", "chats", "trials were pruned", "the worker died", "lora_rank: "):
            assert words in text or words.replace("_", "\\_") in text
    assert "tiny-fingerprint" in dict(content.environment).values()
    assert "finetuning_type: lora" in content.training or content.no_training
    assert content.status.startswith("Not running as of ")


def test_a_study_that_still_runs_has_a_report(storage: SweepStorage, tmp_path: Path) -> None:
    content = content_of(storage, tmp_path, trials=6, running=6)
    assert content.answer == ["There is no answer yet: of 0 finished trials none is complete."]
    assert content.status.startswith("Still running as of ")
    assert "6 running" in page(content)
    assert "no complete trial yet" in content.no_training
    markdown(content)


def test_imported_runs_have_a_report(storage: SweepStorage, tmp_path: Path) -> None:
    import_table(storage, "grid", read_table(GRID, where=["model=Qwen/Qwen3-8B"]))
    content = read_content(storage, load_study(storage, "grid"), "x.db", tmp_path)
    assert "imported" in content.no_training
    assert {plot.key for plot in content.plots} >= {"learning-rate"}
    page(content)
    markdown(content)


def test_each_plot_is_a_picture(storage: SweepStorage, tmp_path: Path) -> None:
    content = content_of(storage, tmp_path)
    files = write_pictures(content.plots, tmp_path / "pictures")
    assert [file.stem for file in files] == [plot.key for plot in content.plots]
    for file in files:
        with Image.open(file) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 30  # there is something on it


def rows_of(*losses: float) -> list[dict[str, Any]]:
    return [trial_row(number, loss) for number, loss in enumerate(losses)]


def comparison(noise: float | None) -> Comparison:
    return Comparison("lora_rank", "8", "paired", (), (), noise, 4)


@pytest.mark.parametrize(
    ("losses", "noise", "words"),
    [
        ((2.0,), None, "the only complete trial"),
        ((2.0, 2.1), None, "leads trial 1, the next best, by 0.1000 nats. No setting was run twice"),
        ((2.0, 2.1), 0.01, "more than chance does"),
        ((2.0, 2.01), 0.01, "no more than chance does"),
    ],
)
def test_how_sure_the_answer_is(losses: tuple[float, ...], noise: float | None, words: str) -> None:
    told = answer("demo", rows_of(*losses), [], [comparison(noise)])
    assert words in told[1]
    assert "sweep confirm demo" in told[2]


def test_a_confirmed_answer_says_what_the_confirmation_found() -> None:
    told = answer("a b", rows_of(2.0, 2.1), [], [], ["Winner: trial 0.", "A seed moves it by 0.01."])
    assert told[1:3] == ["Winner: trial 0.", "A seed moves it by 0.01."]
    assert "confirm" not in told[3]
    assert f"sweep export {shlex.quote('a b')}" in told[3]


def test_a_best_on_an_edge_is_to_be_widened_next() -> None:
    facts = [("learning_rate", "best at 9e-3, on the upper edge of 1e-4..1e-2: the optimum may lie beyond.")]
    assert "widen learning_rate" in answer("demo", rows_of(2.0, 2.1), facts, [])[-1]


def test_the_command_writes_each_format(storage: SweepStorage, tmp_path: Path) -> None:
    synthetic_study(storage, "demo", 6)
    where = str(tmp_path / "storage.db")
    for form, name in (("html", "a/r.html"), ("md", "a/r.md")):
        report_command("demo", where, form, tmp_path / name, tmp_path)
        assert (tmp_path / name).read_text(encoding="utf8")
    assert sorted(file.name for file in (tmp_path / "a").iterdir()) == ["r.html", "r.md"]


@pytest.mark.parametrize(
    ("study", "form", "to", "words"),
    [
        ("demo", "pdf", "r", "--format is 'pdf'; allowed: html, md, png"),
        ("demi", "html", "r", "no study named 'demi'. Did you mean demo?"),
        ("demo", "html", "file/r.html", "cannot write"),
        ("demo", "png", "file", "cannot write"),
        ("demo", "md", ".", "cannot write"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    storage: SweepStorage, tmp_path: Path, study: str, form: str, to: str, words: str
) -> None:
    synthetic_study(storage, "demo", 3)
    (tmp_path / "file").touch()
    with pytest.raises(SweepError, match=re.escape(words)):
        report_command(study, str(tmp_path / "storage.db"), form, tmp_path / to, tmp_path)


def test_the_command_line_has_it() -> None:
    told = CliRunner().invoke(app, ["report", "--help"]).output
    assert "--format" in told
    assert "-o" in told
