"""`sweep report`: writes what a study found as a page, as Markdown, or as pictures."""

import os
from pathlib import Path

import optuna
from rich.console import Console

from sweep.errors import SweepError
from sweep.report.content import read_content
from sweep.say import say
from sweep.storage import open_storage
from sweep.study import load_study
from sweep.trial_files import study_folder

FORMATS = ("html", "md", "png")
FOLDER = Path("reports")


def report_command(study_name: str, storage: str, form: str, to: Path | None, output: Path) -> None:
    """Writes a report, and says where.

    Args:
        study_name: The study.
        storage: Where it is.
        form: One of `FORMATS`.
        to: The file, for png the folder; None for one in `reports/`.
        output: The sweep's output folder.

    Raises:
        SweepError: There is no such format or study, or the report cannot be written.
    """
    if form not in FORMATS:
        raise SweepError(f"--format is {form!r}; allowed: {', '.join(FORMATS)}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    opened = open_storage(storage, create=False)
    content = read_content(opened, load_study(opened, study_name), storage, output)
    place = to or _place(study_name, form)
    try:
        if form == "png":
            from sweep.report.pictures import write_pictures

            written = write_pictures(content.plots, place)
            say(Console(), list(map(str, written)) or ["the study has nothing to draw yet"])
            return
        if form == "html":
            from sweep.report.page import page as text_of
        else:
            from sweep.report.wiki import markdown as text_of
        _write(place, text_of(content))
    except OSError as error:
        raise SweepError(f"cannot write {place}: {error.strerror or error}. Another place: -o FILE") from error
    say(Console(), [str(place)])


def _place(study_name: str, form: str) -> Path:
    folder = study_folder(FOLDER, study_name)
    return folder if form == "png" else folder.with_name(f"{folder.name}.{form}")


def _write(file: Path, text: str) -> None:
    """Replaces a file in one step: who looks at it while it is made again sees the old one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.draft")
    try:
        draft.write_text(text, encoding="utf8", errors="replace")
        os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)
