"""What `diagnose` says of logs that somebody has labelled, beside the labels.

`python -m tests.benchmarks.labelled_logs FOLDER [--half even|odd]`: FOLDER holds the logs and an `index.csv` with the
columns file, labels (separated by semicolons) and confidence. Where the words differ, `tests/data/labelled_logs.md`
argues which is right. Prints a table; asserts nothing.
"""

import argparse
import csv
from pathlib import Path

from trials.diagnosis import DIAGNOSES, diagnose
from trials.log_records import NotALog
from trials.logs import read_log

NOT_A_LOG = "no log"


def said_of(path: Path) -> tuple[str, ...]:
    """The findings of all runs of a file, or that it is no log."""
    try:
        return tuple(dict.fromkeys(kind for run in read_log(path) for kind in diagnose(run).kinds))
    except NotALog:
        return (NOT_A_LOG,)


def meant(labels: str) -> set[str]:
    """The states that labels name; memorising is over-fitting that no evaluation shows."""
    named = {kind for kind in (*DIAGNOSES, "healthy") if kind in labels}
    if "memorisation" in labels:
        named.add("over-fitting")
    return named or {NOT_A_LOG}


def main() -> None:
    """Prints a line a file and the count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", choices=("even", "odd"), default=None, help="only files of such a place in the index")
    asked = parser.parse_args()
    with (asked.folder / "index.csv").open(newline="", encoding="utf8") as file:
        rows = list(csv.DictReader(file))
    agreed = counted = 0
    for place, row in enumerate(rows):
        if asked.half is not None and (place % 2 == 0) != (asked.half == "even"):
            continue
        said = said_of(asked.folder / row["file"])
        agrees = set(said) <= meant(row["labels"])
        if row["confidence"] in ("high", "medium"):
            counted, agreed = counted + 1, agreed + agrees
        print(f"{'    ' if agrees else 'not '} {row['file'][:56]:<56} {row['labels']} -> {' + '.join(said)}")
    print(f"{agreed} of {counted} labels of high or medium confidence said in the same words")


if __name__ == "__main__":
    main()
