"""Text inside Markdown, where the dashboard's notes would read signs in it as markup, HTML, formulas or links."""

import re

from sweep.progress import one_line

# What CommonMark, its extensions and formulas give a meaning to; each may have a backslash before it. Some have
# one in a line's first place only, a colon and a full stop where they would make a link of what they stand in.
_SIGNS = re.compile(r"[\\`*_{}\[\]<>()#!|$~&@]|:(?=//)|(?<=www)\.|^[-+=]", re.IGNORECASE)
_NUMBERED = re.compile(r"^(\d+)\.")


def literal(text: str) -> str:
    """One line that Markdown shows as it stands."""
    return _NUMBERED.sub(r"\1\\.", _SIGNS.sub(r"\\\g<0>", one_line(text)))
