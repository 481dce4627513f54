"""The one place where the report layer imports its drawing libraries, each on first use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rheostat.core.extras import require

if TYPE_CHECKING:
    from rich.text import Text

__all__ = [
    "matplotlib_canvas",
    "matplotlib_colours",
    "matplotlib_figure",
    "missing_glyph_filter",
    "plotly_figure",
    "plotly_html",
    "rich_text",
]

_EXTRA = "report"


def rich_text() -> type[Text]:
    """Return ``rich.text.Text``."""
    text: type[Text] = require("rich.text", _EXTRA).Text
    return text


def matplotlib_figure() -> Any:
    """Return ``matplotlib.figure.Figure``, which draws without pyplot's global state."""
    return require("matplotlib.figure", _EXTRA).Figure


def matplotlib_canvas() -> Any:
    """Return the Agg canvas, which needs no display."""
    return require("matplotlib.backends.backend_agg", _EXTRA).FigureCanvasAgg


def matplotlib_colours(*colours: str) -> Any:
    """Return a colour map that has just these colours."""
    return require("matplotlib.colors", _EXTRA).ListedColormap(list(colours))


def missing_glyph_filter() -> Callable[[str], str]:
    """Return a function that puts a box in place of what matplotlib's own font cannot draw."""
    fonts = require("matplotlib.font_manager", _EXTRA)
    known = fonts.get_font(fonts.findfont("DejaVu Sans")).get_charmap()
    return lambda text: "".join(letter if ord(letter) in known else "\N{WHITE SQUARE}" for letter in text)


def plotly_figure() -> Any:
    """Return the module ``plotly.graph_objects``."""
    return require("plotly.graph_objects", _EXTRA)


def plotly_html() -> Any:
    """Return the module ``plotly.io``."""
    return require("plotly.io", _EXTRA)
