"""The report's charts as Plotly figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rheostat.core.profile import Point, Profile
from rheostat.report.libraries import plotly_figure
from rheostat.report.palette import MIDDLE_BLUE
from rheostat.report.pieces import readable_pieces
from rheostat.report.survivors import Survivors, kept_shares, visible_text
from rheostat.report.wording import is_share, metric_name, quality_text, settings_text

__all__ = ["macs_chart", "quality_chart", "survivors_chart"]

# These stand out on white and on a near-black page (contrast at least 3); symbol and dash differ as well.
_OTHERS = (
    ("#c4622d", "square", "dot"),
    ("#2a8f6d", "diamond", "dash"),
    ("#8a63d2", "triangle-up", "dashdot"),
)
_GREY = "#808890"
_GONE = "rgba(128, 136, 144, 0.18)"
_DASHES = ("dash", "longdashdot", "dot")
_BASELINE_NAMES = {"majority": "always the commonest class", "linear": "linear model on TF-IDF"}


def quality_chart(profile: Profile, metric: str, curves: Mapping[str, Sequence[Point]]) -> Any:
    """Return quality over measured speed-up, with intervals, and simple models as level lines.

    Args:
        profile: What was measured.
        metric: The metric to draw, a key of `Point.quality`.
        curves: More curves by name, for instance an ordinarily tuned model.
    """
    figure = plotly_figure().Figure()
    own = _by_other_dials(profile)
    _add_curve(figure, "this bundle", own.pop(""), metric, (MIDDLE_BLUE, "circle", "solid"))
    figure.update_traces(mode="lines+markers+text", textposition="top right", textfont_size=12)
    for place, (name, points) in enumerate({**own, **curves}.items()):
        _add_curve(figure, name, points, metric, _OTHERS[place % len(_OTHERS)])
    longest = max(point.speedup_high for points in (profile.points, *curves.values()) for point in points)
    levels = {name: metrics[metric] for name, metrics in profile.baselines.items() if metric in metrics}
    for place, (name, value) in enumerate(levels.items()):
        label = f"{_BASELINE_NAMES.get(name, name)}: {quality_text(metric, value)}"
        height = value * _scale(metric)
        _add_line(figure, label, ([1, longest], [height, height]), _DASHES[place % len(_DASHES)])
    unit = " (%)" if is_share(metric) else ""
    _dress(figure, "measured speed-up (times)", metric_name(metric) + unit)
    return figure


def macs_chart(profile: Profile) -> Any:
    """Return measured speed-up over counted work: on the diagonal, the clock confirms the count."""
    figure, points = plotly_figure().Figure(), _in_order(profile.points)
    longest = max(point.macs_ratio for point in points)
    _add_line(figure, "as counted", ([1, longest], [1, longest]), "dash")
    figure.add_scatter(
        x=[point.macs_ratio for point in points],
        y=[point.speedup for point in points],
        error_y=_speedup_interval(points),
        mode="lines+markers",
        name="measured",
        line={"color": MIDDLE_BLUE, "width": 2.5},
        marker={"size": 9},
        text=[settings_text(point) for point in points],
        hovertemplate="%{text}<br>counted %{x:.2f}x<br>measured %{y:.2f}x<extra></extra>",
    )
    _dress(figure, "counted speed-up (times)", "measured speed-up (times)")
    return figure


def survivors_chart(tokens: Sequence[str], survivors: Survivors) -> Any:
    """Return the map of survivors, blocks downwards; pointing at a cell names its token."""
    figure, length = plotly_figure().Figure(), len(tokens)
    words = [visible_text(piece) for piece in readable_pieces(tokens)]
    there = [[int(place in kept) for place in range(length)] for kept in map(frozenset, survivors)]
    states = [["went on" if cell else "dropped" for cell in row] for row in there]
    figure.add_heatmap(
        z=there,
        x=list(range(1, length + 1)),
        y=list(range(1, len(survivors) + 1)),
        zmin=0,
        zmax=1,
        showscale=False,
        colorscale=[[0, _GONE], [0.5, _GONE], [0.5, MIDDLE_BLUE], [1, MIDDLE_BLUE]],
        xgap=1 if length <= 100 else 0,
        ygap=1,
        text=[words] * len(there),
        customdata=states,
        hovertemplate="block %{y}, token %{x}: %{text}<br>%{customdata}<extra></extra>",
    )
    for block, share in enumerate(kept_shares(length, survivors), start=1):
        place = {"x": 1.005, "xref": "paper", "xanchor": "left", "y": block}
        figure.add_annotation(**place, text=f"{share:.0%}".replace("%", " %"), showarrow=False)
    _dress(figure, "token position", "block")
    figure.update_xaxes(showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False, dtick=max(1, len(survivors) // 12))
    figure.update_layout(height=150 + min(24 * len(survivors), 480), margin_r=56, showlegend=False)
    return figure


def _add_curve(figure: Any, name: str, points: Sequence[Point], metric: str, look: tuple[str, str, str]) -> None:
    measured = [point for point in _in_order(points) if metric in point.quality]
    scale, (colour, symbol, dash) = _scale(metric), look
    intervals = [point.quality_interval.get(metric, (point.quality[metric],) * 2) for point in measured]
    values = [point.quality[metric] for point in measured]
    figure.add_scatter(
        x=[point.speedup for point in measured],
        y=[value * scale for value in values],
        error_x=_speedup_interval(measured),
        error_y=_spread(values, intervals, scale),
        mode="lines+markers",
        name=name,
        text=[", ".join(f"{value:g}" for value in point.settings.values()) for point in measured],
        line={"color": colour, "width": 2.5, "dash": dash},
        marker={"size": 9, "symbol": symbol},
        customdata=[
            f"{settings_text(p)}<br>{metric_name(metric)} {quality_text(metric, p.quality[metric])}" for p in measured
        ],
        hovertemplate="%{customdata}<br>speed-up %{x:.2f}x<extra>%{fullData.name}</extra>",
    )


def _by_other_dials(profile: Profile) -> dict[str, list[Point]]:
    """Return the points by what their dials but ``tokens`` are set to; under no name where these are at neutral."""
    plain = {name: value for name, value in profile.neutral.items() if name != "tokens"}
    found: dict[str, list[Point]] = {"": []}
    for point in profile.points:
        turned = [f"{name} {point.settings[name]:g}" for name, value in plain.items() if point.settings[name] != value]
        found.setdefault(", ".join(turned), []).append(point)
    return found


def _add_line(figure: Any, name: str, ends: tuple[list[float], list[float]], dash: str) -> None:
    line = {"color": _GREY, "dash": dash, "width": 1.5}
    figure.add_scatter(x=ends[0], y=ends[1], mode="lines", name=name, line=line, hoverinfo="skip")


def _scale(metric: str) -> float:
    return 100 if is_share(metric) else 1


def _in_order(points: Sequence[Point]) -> list[Point]:
    """From the plain model outwards, so that a line through the points follows the dial."""
    return sorted(points, key=lambda point: (point.macs_ratio, point.speedup))


def _speedup_interval(points: Sequence[Point]) -> dict[str, Any]:
    intervals = [(point.speedup_low, point.speedup_high) for point in points]
    return _spread([point.speedup for point in points], intervals, 1)


def _spread(values: Sequence[float], intervals: Sequence[tuple[float, ...]], scale: float) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [max(ends[1] - value, 0.0) * scale for value, ends in zip(values, intervals, strict=True)],
        "arrayminus": [max(value - ends[0], 0.0) * scale for value, ends in zip(values, intervals, strict=True)],
        "thickness": 1.2,
        "width": 4,
    }


def _dress(figure: Any, x_title: str, y_title: str) -> None:
    """Leave the colours of letters to the page's style sheet, which follows the reader's theme."""
    figure.update_layout(
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 14, "color": _GREY},
        margin={"l": 64, "r": 16, "t": 16, "b": 56},
        height=430,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hoverlabel={"font": {"family": "system-ui, sans-serif"}},
        barmode="overlay",
    )
    figure.update_xaxes(title=x_title, gridcolor="rgba(128,136,144,0.25)", zeroline=False, automargin=True)
    figure.update_yaxes(title=y_title, gridcolor="rgba(128,136,144,0.25)", zeroline=False, automargin=True)
