"""What a study may be called, so that its name is harmless in files, terminals, queries and commands."""

from sweep.errors import SweepError
from sweep.progress import one_line

LONGEST = 500  # characters; Optuna's column holds 512, and a confirmation's name is longer than its study's


def check_study_name(name: str) -> None:
    """Refuses a name that cannot be seen whole on one line, or that a command would take for an option.

    Anything else will do: files, queries and commands are made from any name (see `sweep.trial_files.study_folder`).

    Raises:
        SweepError: It is such a name.
    """
    wrong = ""
    if not name.strip():
        wrong = "is empty"
    elif len(name) > LONGEST:
        wrong = f"has {len(name)} characters, more than {LONGEST}"
    elif not name.isprintable():
        wrong = "has a line end or another character that cannot be shown"
    elif name.startswith("-"):
        wrong = "begins with -, as an option does"
    if wrong:
        shown = one_line(name[:60])
        raise SweepError(f"the study's name {shown!r} {wrong}; give another with STUDY (or --study)")
