"""How long a report takes and how large it is, and how fast the dashboard answers, with many trials of thirty points.

`python -m tests.benchmarks.report [TRIALS …]`; the page is opened in chromium where there is one.
"""

import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

import optuna

from sweep.board import write_board
from sweep.report_command import report_command
from sweep.serve import address, make_dashboard
from sweep.sweep_storage import SweepStorage
from tests.browser import DRAWN, chromium, open_tab
from tests.sweep.fakes import new_storage
from tests.sweep.synthetic import synthetic_study

PLOT = "[id='user-defined-plot:learning-curves'] .main-svg"


def main(sizes: list[int]) -> None:
    """Measures studies of these many trials."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for trials in sizes:
        with tempfile.TemporaryDirectory() as folder:
            _measure(Path(folder), trials)


def _measure(folder: Path, trials: int) -> None:
    storage = new_storage(folder / "sweep.db")
    study = synthetic_study(storage, "demo", trials)
    page = folder / "report.html"
    begun, worked = time.perf_counter(), time.process_time()
    report_command("demo", str(folder / "sweep.db"), "html", page, folder)
    took, cpu = time.perf_counter() - begun, time.process_time() - worked
    print(f"{trials} trials: report {took:.1f} s ({cpu:.1f} s of CPU), {page.stat().st_size / 1e6:.2f} MB", flush=True)
    begun, worked = time.perf_counter(), time.process_time()
    write_board(study, storage)
    took, cpu = time.perf_counter() - begun, time.process_time() - worked
    print(f"{trials} trials: note and plots of the dashboard {took:.1f} s ({cpu:.1f} s of CPU)", flush=True)
    server = make_dashboard(storage, "127.0.0.1", 0, folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with server:
        _dashboard(storage, study, address(server, "127.0.0.1"), trials)
        if chromium() is not None:
            _browse(page, trials, f"{address(server, '127.0.0.1')}/dashboard/studies/{study._study_id}/analytics")
        server.shutdown()


def _dashboard(storage: SweepStorage, study: optuna.Study, home: str, trials: int) -> None:
    for what in ("first", "again"):
        begun = time.perf_counter()
        with urllib.request.urlopen(f"{home}/api/studies/{study._study_id}") as answer:
            size = len(answer.read())
        took = time.perf_counter() - begun
        print(f"{trials} trials: dashboard's study, {what} {took:.2f} s, {size / 1e6:.1f} MB", flush=True)


def _browse(page: Path, trials: int, dashboard: str) -> None:
    with open_tab() as tab:
        begun = time.perf_counter()
        tab.page.goto(page.as_uri(), wait_until="domcontentloaded")
        tab.page.locator("h1").click()
        interactive = time.perf_counter() - begun
        tab.page.wait_for_selector(DRAWN, state="attached")
        drawn = time.perf_counter() - begun
        print(f"{trials} trials: page answers after {interactive:.1f} s, all plots after {drawn:.1f} s", flush=True)
        begun = time.perf_counter()
        tab.page.goto(dashboard)
        tab.page.wait_for_selector(PLOT, state="attached")
        print(f"{trials} trials: dashboard's plots shown after {time.perf_counter() - begun:.1f} s", flush=True)
        for complaint in tab.complaints:
            print(f"the browser says: {complaint}", flush=True)


if __name__ == "__main__":
    main([int(size) for size in sys.argv[1:]] or [200, 1000])
