"""Import and comparison by the real command line: JSON for programs, one line and status 2 for a user's mistake."""

import json
import subprocess
import sys
from pathlib import Path

GRID = Path(__file__).parents[1] / "data" / "lora_lr_rank_grid.csv"


def sweep(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "sweep", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_a_table_is_imported_and_compared(tmp_path: Path) -> None:
    database = str(tmp_path / "sweep.db")
    imported = sweep("import", str(GRID), "--where", "model=Qwen/Qwen3-8B", "--study", "grid", "--storage", database)
    assert imported[0] == 0, imported
    status, output, _ = sweep("compare", "grid", "--by", "learning_rate", "--storage", database, "--json")
    assert status == 0
    assert [level["verdict"] for level in json.loads(output)["levels"]] == ["reference", "better", "better", "better"]
    status, output, complaint = sweep("compare", "grid", "--by", "rank", "--storage", database)
    assert (status, output) == (2, "")
    assert complaint == "sweep: the study has no knob 'rank' to compare; its knobs: learning_rate, lora_rank\n"


def test_a_table_that_is_not_there_makes_no_database(tmp_path: Path) -> None:
    database = tmp_path / "sweep.db"
    status, _, complaint = sweep("import", str(tmp_path / "none.csv"), "--storage", str(database))
    assert status == 2
    assert complaint.startswith("sweep: no file ")
    assert complaint.count("\n") == 1
    assert not database.exists()
