"""The system's chromium without a window, and what pages complain of in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

# With which the report says that all its plots are drawn.
DRAWN = "html[data-plots=drawn]"
PATIENCE = 120_000  # milliseconds; machines that test are busy


def chromium() -> str | None:
    """Where it is; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass
class Tab:
    """A page, and all that it complained of."""

    page: Any
    complaints: list[str] = field(default_factory=list)


@contextmanager
def open_tab(width: int = 1280, scheme: str = "light", *, offline: bool = False) -> Iterator[Tab]:
    """A new page in a new browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"], timeout=PATIENCE)
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
            offline=offline,
        )
        tab = Tab(context.new_page())
        tab.page.set_default_timeout(PATIENCE)
        tab.page.on("console", lambda said: tab.complaints.append(said.text) if said.type == "error" else None)
        tab.page.on("pageerror", lambda error: tab.complaints.append(str(error)))
        yield tab
        browser.close()
