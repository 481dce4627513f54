"""A leaderboard's charts as Plotly figures: the trade-off, and all main metrics side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from rheostat.core.measurement import Measurement
from rheostat.report.leaderboard_groups import (
    Group,
    configuration_text,
    front_of,
    is_plain,
    knob_text,
    metrics_of,
    quality_of,
    value_of,
)
from rheostat.report.libraries import plotly_figure
from rheostat.report.palette import MIDDLE_BLUE
from rheostat.report.scales import Scale

__all__ = ["dress", "metrics_chart", "metrics_words", "trade_off_chart", "trade_off_words"]

# These stand out on white and on a near-black page (contrast at least 3); symbols differ as well.
_COLOURS = (MIDDLE_BLUE, "#c4622d", "#2a8f6d", "#8a63d2", "#c0487c", "#8a7a1e", "#2b8ca8", "#7a7f87")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "triangle-down", "x")
_GREY, _GRID = "#808890", "rgba(128,136,144,0.25)"
_AXES = (
    "speedup", "ttft_p50", "tpot_p50", "latency_p50", "throughput_tokens", "memory_peak_device",
    "memory_peak_host", "memory_weights", "energy_per_token", "energy_per_sample", "cost_per_million_tokens",
)  # fmt: skip
_ARROWS = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}", "neither": ""}
_MOST_AXES, _WIDE = 7, 8
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
_FEW_TICKS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


def trade_off_chart(group: Group) -> Any | None:
    """Return quality over speed-up with both intervals, a series a precision, and the front as a line.

    None where fewer than two rows have both.
    """
    quality, rows = quality_of(group), _drawable(group)
    if len(rows) < 2:
        return None
    figure, scale, kind = plotly_figure().Figure(), group.scale(quality), group.kind(quality)
    front = front_of(group)
    figure.add_scatter(
        x=[value_of(row, "speedup") for row in front],
        y=[(value_of(row, quality) or 0.0) / scale.factor for row in front],
        mode="lines+markers",
        name="front: nothing is better in both",
        line={"color": _GREY, "width": 1.5, "dash": "dot"},
        marker={"symbol": "circle-open", "size": 19, "color": _GREY, "line": {"width": 1.5}},
        hoverinfo="skip",
    )
    for place, (name, members) in enumerate(_series(rows).items()):
        _add_points(figure, group, members, (name, place))
    dress(figure, 470)
    unit = f" ({scale.unit})" if scale.unit else ""
    figure.update_yaxes(title=f"{kind.title}{unit}, up is better")
    if kind.better == "lower":
        figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title="speed-up (times), right is better")
    speeds = [value_of(row, "speedup") or 1.0 for row in rows]
    if max(speeds) > _WIDE * min(speeds):
        ticks = _TICKS if max(speeds) < _WIDE**2 * min(speeds) else _FEW_TICKS
        figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks], tickangle=0)
    figure.add_vline(x=1, line={"color": _GREY, "width": 1, "dash": "dash"})
    return figure


def trade_off_words(group: Group) -> str:
    """Return the same in words, for those who do not see the chart."""
    quality = quality_of(group)
    kind, speed, scale = group.kind(quality), group.scale("speedup"), group.scale(quality)
    return f"{kind.title} over speed-up. " + "; ".join(
        f"{configuration_text(row.configuration)}: {speed.full(row.metrics['speedup'])}, "
        f"{scale.full(row.metrics[quality])}"
        for row in _drawable(group)
    )


def metrics_chart(group: Group) -> Any | None:
    """Return parallel coordinates: a level axis a metric with its best value at the right, a line a configuration.

    None where fewer than two rows or two metrics differ.
    """
    names, rows = _axes(group), [row for row in group.rows if row.status == "ok"]
    if len(names) < 2 or len(rows) < 2:
        return None
    figure = plotly_figure().Figure()
    front = {row.key for row in front_of(group)}
    for place, (series, members) in enumerate(_series(rows).items()):
        colour = _COLOURS[place % len(_COLOURS)]
        for number, row in enumerate(members):
            strong = row.key in front or is_plain(row)
            there = [(level, name) for level, name in enumerate(names) if value_of(row, name) is not None]
            figure.add_scatter(
                x=[_goodness(group, name, row) for _, name in there],
                y=[level for level, _ in there],
                mode="lines+markers",
                name=escape(series),
                legendgroup=escape(series),
                showlegend=number == 0,
                opacity=1 if strong else 0.6,
                line={"color": colour, "width": 2.5 if strong else 1.4, "dash": "dash" if is_plain(row) else "solid"},
                marker={"size": 7 if strong else 5, "symbol": _SYMBOLS[place % len(_SYMBOLS)]},
                text=[f"{group.kind(name).title} {group.scale(name).full(row.metrics[name])}" for _, name in there],
                hovertemplate=f"<b>{escape(configuration_text(row.configuration))}</b><br>%{{text}}<extra></extra>",
            )
    dress(figure, 110 + 74 * len(names))
    _label_axes(figure, group, names)
    return figure


def metrics_words(group: Group) -> str:
    """Return in words what the parallel axes are."""
    titles = [f"{group.kind(name).title}, {_ends(group, name)[0]} to {_ends(group, name)[1]}" for name in _axes(group)]
    return "Every configuration over the main metrics, worst to best: " + "; ".join(titles)


def _add_points(figure: Any, group: Group, rows: Sequence[Measurement], series: tuple[str, int]) -> None:
    quality, (name, place) = quality_of(group), series
    front = {row.key for row in front_of(group)}
    speed, scale = group.scale("speedup"), group.scale(quality)
    figure.add_scatter(
        x=[value_of(row, "speedup") for row in rows],
        y=[(value_of(row, quality) or 0.0) / scale.factor for row in rows],
        error_x=_spread(rows, "speedup", speed),
        error_y=_spread(rows, quality, scale),
        mode="markers+text",
        name=escape(name),
        text=[escape(_short(row)) if row.key in front else "" for row in rows],
        textposition="top right",
        textfont={"size": 11},
        marker={
            "size": 10,
            "symbol": _SYMBOLS[place % len(_SYMBOLS)],
            "color": _COLOURS[place % len(_COLOURS)],
        },
        customdata=[
            f"<b>{escape(configuration_text(row.configuration))}</b><br>speed-up {speed.full(row.metrics['speedup'])}"
            f"<br>{group.kind(quality).title} {scale.full(row.metrics[quality])}"
            for row in rows
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _drawable(group: Group) -> list[Measurement]:
    quality = quality_of(group)
    return [row for row in group.rows if value_of(row, "speedup") is not None and value_of(row, quality) is not None]


def _series(rows: Sequence[Measurement]) -> dict[str, list[Measurement]]:
    """Rows by precision; in one series where no row sets it."""
    found: dict[str, list[Measurement]] = {}
    for row in rows:
        found.setdefault(knob_text(row.configuration.get("precision", "measured")), []).append(row)
    return dict(sorted(found.items(), key=lambda item: not any(is_plain(row) for row in item[1])))


def _short(row: Measurement) -> str:
    rest = [knob_text(value) for name, value in row.configuration.items() if name != "precision"]
    return ", ".join(text for text in rest if len(text) <= 6)


def _axes(group: Group) -> list[str]:
    there, _ = metrics_of(group)
    names = [name for name in ("speedup", quality_of(group), *_AXES[1:]) if name in there]
    return [name for name in names if len(set(_values(group, name))) > 1][:_MOST_AXES]


def _values(group: Group, name: str) -> list[float]:
    return [value for row in group.rows if (value := value_of(row, name)) is not None]


def _ends(group: Group, name: str) -> tuple[str, str]:
    """The worst and the best value as text."""
    scale = group.scale(name)
    rows = sorted(
        (row for row in group.rows if value_of(row, name) is not None), key=lambda row: _goodness(group, name, row)
    )
    return scale.text(rows[0].metrics[name]), scale.text(rows[-1].metrics[name])


def _goodness(group: Group, name: str, row: Measurement) -> float:
    """Return where a value stands between the worst, 0, and the best, 1."""
    values, value = _values(group, name), value_of(row, name) or 0.0
    low, high = min(values), max(values)
    if low > 0 and high > _WIDE * low:
        low, high, value = math.log(low), math.log(high), math.log(value)
    share = (value - low) / (high - low)
    return 1 - share if group.kind(name).better == "lower" else share


def _spread(rows: Sequence[Measurement], name: str, scale: Scale) -> dict[str, Any]:
    ends = []
    for row in rows:
        metric = row.metrics[name]
        value = metric.value or 0.0
        low, high = (value, value) if metric.low is None or metric.high is None else (metric.low, metric.high)
        ends.append(((high - value) / scale.factor, (value - low) / scale.factor))
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(up, 0.0) for up, _ in ends],
        "arrayminus": [max(down, 0.0) for _, down in ends],
        "thickness": 1.2,
        "width": 4,
    }


def _label_axes(figure: Any, group: Group, names: Sequence[str]) -> None:
    for level, name in enumerate(names):
        kind, (worst, best) = group.kind(name), _ends(group, name)
        figure.add_shape(type="line", x0=0, x1=1, y0=level, y1=level, line={"color": _GRID, "width": 2}, layer="below")
        title = f"<b>{escape(kind.title)}</b> {_ARROWS[kind.better]}"
        place = {"y": level, "showarrow": False, "yanchor": "bottom", "yshift": 11}
        figure.add_annotation(x=0, xanchor="left", text=f"{title} {worst}", **place)
        figure.add_annotation(x=1, xanchor="right", text=best, **place)
    figure.update_layout(margin={"l": 4, "r": 4, "b": 8})
    figure.update_xaxes(visible=False, range=[-0.02, 1.02], fixedrange=True)
    figure.update_yaxes(visible=False, range=[len(names) - 0.6, -0.7], fixedrange=True)


def dress(figure: Any, height: int) -> None:
    """Give a figure the looks of all; the colours of letters are left to the page's style sheet, for the theme."""
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13, "color": _GREY},
        margin={"l": 48, "r": 8, "t": 16, "b": 48},
        height=height,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 12}},
        hoverlabel={"font": {"family": "system-ui, sans-serif"}, "align": "left"},
    )
    figure.update_xaxes(gridcolor=_GRID, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=_GRID, zeroline=False, automargin=True)
