"""The table of a leaderboard: a row a configuration, every number with its unit, spread and source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from rheostat.core.measurement import Measurement
from rheostat.core.metrics import Metric, MetricKind
from rheostat.report.cells import (
    MARK_WORDS,
    Column,
    empty_cell,
    head_cell,
    hover_text,
    metric_cell,
    provenance_mark,
    simple_row,
)
from rheostat.report.leaderboard_groups import (
    BASELINE_NAMES,
    QUALITY,
    Group,
    baselines_of,
    configuration_text,
    front_of,
    is_plain,
    knob_text,
    knobs_of,
    metrics_of,
    speed_verdict,
)
from rheostat.report.scales import Scale, direction_text
from rheostat.report.whiskers import Whiskers

__all__ = ["row_anchor", "table_html"]

_MAIN = frozenset(
    (
        *QUALITY, "speedup", "latency_p50", "latency_p95", "ttft_p50", "tpot_p50", "throughput_samples",
        "throughput_tokens", "memory_peak_host", "memory_peak_device", "memory_weights", "compression_memory",
        "compression_nominal_quality", "energy_per_sample", "energy_per_token", "cost_per_million_tokens",
    )
)  # fmt: skip
"""The columns that are there at once; the others come with a tick."""

_LOOKS = {"tied with plain": "tied", "slower than plain": "slow"}


_Column = Column[Measurement]


def table_html(group: Group, number: int) -> str:
    """Return the table of a group, the notes below it, and a tick for the lesser columns.

    Args:
        group: What was measured.
        number: The group's place on the page, for anchors.
    """
    names, missing = metrics_of(group)
    columns = _columns(group, names, number)
    rows = "".join(_row(row, columns) for row in group.rows)
    simple = "".join(
        simple_row(
            BASELINE_NAMES.get(name, name), values, columns, lambda metric: (group.kind(metric), group.scale(metric))
        )
        for name, values in baselines_of(group).items()
        if values
    )
    simple = f'<tbody class="simple">{simple}</tbody>' if simple else ""
    # The table comes sorted by speed-up: the script turns this very order around first.
    heads = "".join(
        head_cell(column, text=not place, now="descending" if column.metric == "speedup" else "")
        for place, column in enumerate(columns)
    )
    more = sum(column.mark == "more" for column in columns)
    tick = (
        f'<label class="pick"><input type="checkbox"> Show {more} more column{"s" * (more > 1)}</label>' if more else ""
    )
    return (
        f'{tick}<div class="scroll" tabindex="0" role="region" aria-label="{escape(group.title)}, table">'
        f'<table class="board"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody>{simple}</table></div>'
        f"{_legend(group, names)}{_missing(group, missing)}"
    )


def row_anchor(number: int, row: Measurement) -> str:
    """Return the anchor of a row's details."""
    return f"row-{number}-{row.key}"


def _columns(group: Group, names: Sequence[str], number: int) -> list[_Column]:
    front = {row.key for row in front_of(group)}
    order = {text: place for place, text in enumerate(sorted({_sortable(row) for row in group.rows}))}
    columns = [
        _Column("configuration", lambda row: _name_cell(row, number, row.key in front, order), numeric=True),
        *(_knob_column(knob, group) for knob in _telling(group)),
        _Column("status", _status_cell, numeric=False, mark="status"),
    ]
    return columns + [_metric_column(group, name) for name in names]


def _telling(group: Group) -> list[str]:
    """Knobs that differ between rows."""
    knobs = knobs_of(group)
    return [knob for knob in knobs if len({knob_text(row.configuration.get(knob)) for row in group.rows}) > 1]


def _sortable(row: Measurement) -> tuple[tuple[str, float, str], ...]:
    return tuple(
        (name, float(value), "") if isinstance(value, int | float) else (name, 0.0, knob_text(value))
        for name, value in row.configuration.items()
    )


def _knob_column(knob: str, group: Group) -> _Column:
    values = [row.configuration[knob] for row in group.rows if knob in row.configuration]
    numeric = all(isinstance(value, int | float) for value in values)

    def cell(row: Measurement) -> str:
        if knob not in row.configuration:
            return empty_cell("not set", "knob")
        text, value = knob_text(row.configuration[knob]), row.configuration[knob]
        raw = float(value) if numeric else text
        return f'<td class="knob{"" if numeric else " text"}" data-v="{escape(str(raw))}">{escape(text)}</td>'

    return _Column(knob.replace("_", " "), cell, numeric=numeric, mark="knob")


def _name_cell(row: Measurement, number: int, front: bool, order: Mapping[Any, int]) -> str:
    chips = [' <span class="chip">plain model</span>'] if is_plain(row) else []
    chips += [' <span class="chip front" title="Nothing beats it in speed-up and quality at once">front</span>'] * front
    # A narrow page has no room for the column of statuses.
    status = "" if row.status == "ok" else f'<span class="narrow">{_status(row)}</span>'
    return (
        f'<th scope="row" data-v="{order[_sortable(row)]}"><a href="#{row_anchor(number, row)}">'
        f"{escape(configuration_text(row.configuration))}</a>{''.join(chips)}{status}</th>"
    )


def _status_cell(row: Measurement) -> str:
    return f'<td class="text status" data-v="{row.status}">{_status(row)}</td>'


def _status(row: Measurement) -> str:
    words = row.status.replace("-", " ")
    shown = "ok" if row.status == "ok" else f'<span class="chip broken">{words}</span>'
    return shown + (f'<span class="reason">{escape(row.reason)}</span>' if row.reason else "")


def _metric_column(group: Group, name: str) -> _Column:
    kind, scale = group.kind(name), group.scale(name)
    whiskers = Whiskers.over([row.metrics[name] for row in group.rows if name in row.metrics])
    mark = "" if name in _MAIN else "more"

    def cell(row: Measurement) -> str:
        metric = row.metrics.get(name)
        if metric is None:
            why = "not measured" if row.status == "ok" else f"not measured: {row.status.replace('-', ' ')}"
            return empty_cell(why, mark)
        if name == "speedup" and metric.value is not None:
            return _speed_cell(row, metric, whiskers, (kind, scale))
        return metric_cell(metric, kind, scale, mark)

    below = direction_text(kind)
    axis = f'<div class="speed">{whiskers.axis()}<div></div></div>' if name == "speedup" else ""
    first = "descending" if kind.better == "higher" else "ascending"
    return _Column(
        kind.title, cell, f"<small>{below}</small>{axis}" if below else "", first=first, metric=name, mark=mark
    )


def _speed_cell(row: Measurement, metric: Metric, whiskers: Whiskers, words: tuple[MetricKind, Scale]) -> str:
    verdict, (kind, scale) = speed_verdict(row), words
    look = _LOOKS.get(verdict, "")
    chip = f'<span class="chip {look}">{verdict}</span>' if verdict else ""
    ends = f"<small>{scale.ends(metric)}</small>" if scale.ends(metric) else ""
    return (
        f'<td class="value" data-v="{metric.value!r}" title="{hover_text(metric, kind, scale)}">'
        f'<div class="speed">{whiskers.drawn(metric, look)}'
        f"<div>{scale.text(metric)}{provenance_mark(metric)}{ends}{chip}</div></div></td>"
    )


def _row(row: Measurement, columns: Sequence[_Column]) -> str:
    mark = ' class="plain"' if is_plain(row) else ""
    return f"<tr{mark}>{''.join(column.cell(row) for column in columns)}</tr>"


def _legend(group: Group, names: Sequence[str]) -> str:
    used = {row.metrics[name].provenance for row in group.rows for name in names if name in row.metrics}
    marks = "".join(f"<sup>{each[0]}</sup> {words}. " for each, words in MARK_WORDS.items() if each in used)
    return (
        f'<p class="soft small">Below a value: its 95 % interval. {marks}Without a mark: from a counter or a clock. '
        "Point at a number for its instrument, or follow the name of its configuration.</p>"
    )


def _missing(group: Group, missing: Mapping[str, str]) -> str:
    if not missing:
        return ""
    texts = [f"{group.kind(name).title} ({reason})" for name, reason in missing.items()]
    return f'<p class="soft small">Unavailable in every row: {escape("; ".join(texts))}.</p>'
