"""Text in a note of the dashboard is shown as it stands."""

import pytest
from markdown_it import MarkdownIt

from sweep.markdown import literal
from tests.sweep.test_names import NAMES


def _shown(text: str) -> tuple[str, set[str]]:
    """The text that a reader of Markdown makes of it, and the kinds of element around."""
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": False}).parse(text)
    inline = [child for token in tokens if token.children for child in token.children]
    return "".join(child.content for child in inline), {token.type for token in (*tokens, *inline)}


@pytest.mark.parametrize(
    "text",
    [
        *NAMES,
        *("# head", "- item", "+ item", "* item", "1. item", "12) item", "---", "===", "> quote", "~~gone~~", "`code`"),
        *(
            "| a | b |",
            "_a_ __b__",
            "<b>x</b>",
            "&lt;",
            "![x](y)",
            "[x]: y",
            "\\*x",
            "rank 8, alpha 16, learning_rate 1e-4",
        ),
        *("diverged: loss is nan", "loss 3.910 at step 2.", "a - b + c", "-0.5"),
    ],
)
def test_what_is_shown_is_what_was_written(text: str) -> None:
    shown, kinds = _shown(literal(text))
    assert shown == " ".join(text.split())
    assert kinds <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("http://evil.example www.evil.example a@b.example", r"http\://evil.example www\.evil.example a\@b.example"),
        ("$x^$", r"\$x^\$"),
        ("\x1b[31m a\nb", r"\[31m a b"),
    ],
)
def test_links_formulas_and_control_characters(text: str, written: str) -> None:
    """What extensions of the dashboard's reader would read, which the one above has not."""
    assert literal(text) == written
