"""The frame of a page that is one file, and its charts: Plotly's script goes in once."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from rheostat.report.libraries import plotly_html

__all__ = ["Charts", "document", "rerun_section"]


class Charts:
    """Turns figures into HTML; Plotly's script goes with the first one only."""

    def __init__(self) -> None:
        self._count = 0

    def add(self, figure: Any, alternative: str, caption: str) -> str:
        """Return a figure as HTML.

        Args:
            figure: A Plotly figure.
            alternative: What it shows, in words, for those who do not see it.
            caption: How to read it.
        """
        self._count += 1
        drawn = plotly_html().to_html(
            figure,
            include_plotlyjs=self._count == 1,
            full_html=False,
            div_id=f"chart-{self._count}",
            config={"responsive": True, "displayModeBar": False},
        )
        return (
            f"<figure><figcaption>{escape(caption)}</figcaption>"
            f'<div role="img" aria-label="{escape(alternative)}">{drawn}</div></figure>'
        )


def document(title: str, style: str, body: str) -> str:
    """Return a whole page; the title is escaped, style and body are taken as they are."""
    return _DOCUMENT.format(title=escape(title), style=style, body=body)


def rerun_section(commands: Sequence[str]) -> str:
    """Return the section with the commands that make the numbers again; empty where there are none."""
    if not commands:
        return ""
    return f"<h2>How to make these numbers again</h2><pre><code>{escape(chr(10).join(commands))}</code></pre>"


_DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
<footer>Made with rheostat. This page needs no network: all of it is in this file.</footer>
</main>
</body>
</html>
"""
