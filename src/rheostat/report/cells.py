"""Columns and cells of sortable tables: every number with its unit, spread and source."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final, Generic, TypeVar

from rheostat.core.metrics import Metric, MetricKind
from rheostat.report.scales import Scale, provenance_text

__all__ = [
    "MARK_WORDS",
    "Column",
    "empty_cell",
    "head_cell",
    "hover_text",
    "metric_cell",
    "provenance_mark",
    "simple_row",
]

_MARKS: Final = {"sampled": "s", "estimated": "e"}
MARK_WORDS: Final = {"sampled": "sampled over time", "estimated": "estimated, not measured"}
"""What stands behind a number that was not read off a counter or a clock, in words."""

Row = TypeVar("Row")


@dataclass(frozen=True)
class Column(Generic[Row]):
    """One column: its head, and how a row's cell is made.

    Attributes:
        title: What stands on the button that sorts by it.
        cell: Returns a row's cell as HTML.
        below: HTML below the title.
        numeric: Whether ``data-v`` of its cells are numbers.
        first: In which direction the first click sorts.
        metric: The metric it shows; empty for others.
        mark: Classes for the style sheet.
    """

    title: str
    cell: Callable[[Row], str]
    below: str = ""
    numeric: bool = True
    first: str = "ascending"
    metric: str = ""
    mark: str = ""


def head_cell(column: Column[Row], *, text: bool = False, now: str = "") -> str:
    """Return a head with a button that sorts.

    Args:
        column: The column.
        text: Whether it stands at the left although it sorts by a number.
        now: The direction that the table comes sorted in by this column; empty for none.
    """
    sort = f' aria-sort="{now}"' if now else ""
    kind = "number" if column.numeric else "text"
    marks = " ".join(filter(None, ("text" if text or not column.numeric else "", column.mark)))
    return (
        f'<th scope="col" class="{marks}" data-kind="{kind}" data-first="{column.first}"{sort}>'
        f'<button type="button">{escape(column.title)}</button>{column.below}</th>'
    )


def metric_cell(metric: Metric, kind: MetricKind, scale: Scale, mark: str = "") -> str:
    """Return a measured value with its interval below, or why there is none."""
    if metric.value is None:
        reason = escape(metric.source or "no reason given")
        return f'<td class="none {mark}" title="{reason}">unavailable<span class="reason">{reason}</span></td>'
    ends = scale.ends(metric)
    spread = f"<small>{escape(ends)}</small>" if ends else ""
    return (
        f'<td class="value {mark}" data-v="{metric.value!r}" title="{hover_text(metric, kind, scale)}">'
        f"{escape(scale.text(metric))}{provenance_mark(metric)}{spread}</td>"
    )


def empty_cell(why: str, mark: str = "") -> str:
    """Return a cell without a value, and why."""
    return f'<td class="none {mark}" title="{escape(why)}">&ndash;</td>'


def hover_text(metric: Metric, kind: MetricKind, scale: Scale) -> str:
    """Return a value with its interval and source, escaped, for who points at it."""
    ends = scale.ends(metric)
    spread = f", 95 % interval {ends}" if ends else ", no interval"
    return escape(f"{kind.title}: {scale.text(metric)}{spread}; {provenance_text(metric)}")


def provenance_mark(metric: Metric) -> str:
    """Return the raised letter of what was sampled or estimated."""
    return f"<sup>{_MARKS[metric.provenance]}</sup>" if metric.provenance in _MARKS else ""


def simple_row(
    title: str,
    values: Mapping[str, Metric],
    columns: Sequence[Column[Row]],
    words: Callable[[str], tuple[MetricKind, Scale]],
) -> str:
    """Return the row of a simple model, such as the majority class, of which only quality is known.

    Args:
        title: What the model is called.
        values: Its metrics.
        columns: The table's; the first one is the head of the row.
        words: Returns how a metric is written.
    """
    cells = []
    for column in columns[1:]:
        metric = values.get(column.metric)
        if column.mark == "status":
            cells.append('<td class="text status">simple model</td>')
        elif metric is None:
            cells.append(empty_cell("not measured for a simple model", column.mark))
        else:
            cells.append(metric_cell(metric, *words(column.metric), column.mark))
    return f'<tr><th scope="row">{escape(title)}</th>{"".join(cells)}</tr>'
