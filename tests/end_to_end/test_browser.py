"""The report in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.report.content import read_content
from sweep.report.page import page
from sweep.sweep_storage import SweepStorage
from tests.browser import DRAWN, open_tab
from tests.sweep.fakes import new_storage
from tests.sweep.synthetic import synthetic_study

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[SweepStorage]:
    opened = new_storage(tmp_path / "sweep.db")
    yield opened
    opened.engine.dispose()


@pytest.mark.parametrize(("width", "scheme", "paper"), [(1280, "light", "255, 255, 255"), (390, "dark", "23, 25, 28")])
def test_the_report_draws_all_offline_and_fits(
    storage: SweepStorage, tmp_path: Path, width: int, scheme: str, paper: str
) -> None:
    study = synthetic_study(storage, "<i>demo</i> & co", 30)
    content = read_content(storage, study, "sweep.db", tmp_path)
    file = tmp_path / "report.html"
    file.write_text(page(content), encoding="utf8")
    with open_tab(width, scheme, offline=True) as tab:
        tab.page.goto(file.as_uri())
        tab.page.wait_for_selector(DRAWN, state="attached")
        drawn = tab.page.locator(".plot .main-svg:first-child")
        assert drawn.count() >= len(content.plots) > 5
        body = tab.page.locator("body")
        assert body.evaluate("body => body.scrollWidth") <= width
        assert body.evaluate("body => getComputedStyle(body).backgroundColor") == f"rgb({paper})"
        background = tab.page.locator(".plot .main-svg").first.evaluate("svg => svg.style.background")
        assert background == f"rgb({paper})"
        assert tab.page.locator("h1").inner_text() == "<i>demo</i> & co"
        assert tab.complaints == []
