"""A report as one HTML file that needs nothing else: plotly is in it once, packed, and nothing is fetched."""

import base64
import functools
import gzip
import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from sweep import style
from sweep.figures.theme import DARK, FONT, LIGHT
from sweep.report.content import Content
from sweep.version import __version__

# A rule of the browser's own: whatever a name in the page may be, it loads nothing.
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"


def page(content: Content) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("sweep", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        content=content,
        policy=POLICY,
        style=style,
        font=FONT,
        version=__version__,
        plots=_plain_json([_figure(plot.figure) for plot in content.plots]),
        themes=_plain_json({"light": LIGHT.to_plotly_json(), "dark": DARK.to_plotly_json()}),
        plotly=_packed_plotly() if content.plots else "",
    )


def _figure(figure: Any) -> dict[str, Any]:
    """A figure without its looks, which the page adds by day or night."""
    plain: dict[str, Any] = json.loads(figure.to_json())
    plain["layout"].pop("template", None)
    return {"data": plain["data"], "layout": plain["layout"]}


def _plain_json(value: Any) -> str:
    """JSON that stands in a script element: no text in it can end that or begin a comment."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@functools.cache
def _packed_plotly() -> str:
    """A third of plotly.js' size; the browser unpacks it in a moment."""
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
