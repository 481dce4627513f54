"""The charts of a search: all trials over any two metrics, and the progress of the search."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from itertools import accumulate
from typing import Any

from rheostat.core.metrics import metric_kind
from rheostat.core.pareto import hypervolume
from rheostat.core.trial import Trial
from rheostat.report.leaderboard_charts import dress
from rheostat.report.leaderboard_groups import BASELINE_NAMES, configuration_text
from rheostat.report.libraries import plotly_figure
from rheostat.report.optimisation_sentences import simple_values
from rheostat.report.optimisation_study import STANDINGS, Point, Standing, StudyData
from rheostat.report.palette import MIDDLE_BLUE

__all__ = ["Progress", "front_chart", "front_data", "progress_chart", "progress_of", "start_pair"]

_GREY = "#808890"

# Symbol, size and filling tell standings apart as well as colours; these stand out on white and on a near-black page.
_LOOKS: Mapping[Standing, tuple[str, str, int]] = {
    "dominated": ("circle-open", _GREY, 8),
    "infeasible": ("triangle-down-open", "#c4622d", 9),
    "front": ("circle", MIDDLE_BLUE, 11),
    "baseline": ("square", "#8a63d2", 14),
    "recommended": ("star", "#2a8f6d", 19),
}
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "pentagon", "hexagon", "triangle-down")
_COLOURS = ("#8a63d2", MIDDLE_BLUE, "#2a8f6d", "#8a7a1e", "#2b8ca8", "#c0487c", "#c4622d", "#7a7f87")
_FAILED = "#c0487c"


def front_chart(study: StudyData) -> Any:
    """Return an empty figure with a series a standing; the page's script fills it with the two metrics chosen."""
    figure = plotly_figure().Figure()
    line = {"color": MIDDLE_BLUE, "width": 1.5, "dash": "dot", "shape": "linear"}
    figure.add_scatter(x=[], y=[], mode="lines", name="front of these two", line=line, hoverinfo="skip", meta="line")
    there = {point.standing for point in study.points}
    for standing, (symbol, colour, size) in _LOOKS.items():
        if standing in there:
            marker = {"symbol": symbol, "color": colour, "size": size, "line": {"width": 1.6, "color": colour}}
            whisker = {"type": "data", "symmetric": False, "thickness": 1, "width": 3, "color": colour}
            figure.add_scatter(
                x=[], y=[], error_x=whisker, error_y=whisker, mode="markers", meta=standing, marker=marker,
                name=STANDINGS[standing].partition(":")[0], hovertemplate="%{customdata}<extra></extra>",
            )  # fmt: skip
    figure.add_scatter(
        x=[], y=[], xaxis="x2", yaxis="y2", mode="markers", meta="missing", name="failed or not measured",
        marker={"symbol": "x", "color": _FAILED, "size": 9}, hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip
    dress(figure, 520)
    figure.update_layout(
        xaxis={"anchor": "y"},
        yaxis={"domain": [0.1, 1]},
        xaxis2={"anchor": "y2", "visible": False, "fixedrange": True},
        yaxis2={"domain": [0, 0.02], "visible": False, "range": [-1, 1], "fixedrange": True},
    )
    return figure


def front_data(study: StudyData) -> str:
    """Return what the script draws from, as JSON that may stand inside a page."""
    metrics = {
        name: {
            "title": study.title_of(name), "unit": study.scale(name).unit, "better": metric_kind(name).better,
            "objective": name in study.objectives,
            "at": [_ends(study, point, name) for point in study.points],
            "texts": [_text(study, point, name) for point in study.points],
        }
        for name in _drawable(study)
    }  # fmt: skip
    points = [
        {
            "n": one.trial.number, "name": one.name, "standing": one.standing, "kept": one.feasible,
            "words": _words(study, one),
        }
        for one in study.points
    ]  # fmt: skip
    simple = [
        {"name": BASELINE_NAMES.get(name, name), "values": _simple(study, values)}
        for name, values in study.result.cheap_baselines.items()
    ]
    return _inside({"metrics": metrics, "points": points, "simple": simple, "start": start_pair(study)})


def start_pair(study: StudyData) -> tuple[str, str]:
    """Return the two metrics that are shown first: the first cost and the quality, or the first two objectives."""
    names = [name for name in _drawable(study) if name in study.objectives] or _drawable(study)
    across = next((name for name in names if name != study.quality), names[0])
    return across, next((name for name in (study.quality, *names) if name in names and name != across), across)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search was after each of its trials.

    Attributes:
        title: What is counted, for the axis.
        shares: One a trial, in per cent.
    """

    title: str
    shares: tuple[float, ...]


def progress_of(study: StudyData) -> Progress:
    """Return after each trial which share of the final hypervolume of what keeps the limits had been reached.

    Costs count as logarithms. The reference is the worst that was measured of what keeps the limits, a tenth of the
    range further. Where nothing keeps them, it is by how much the nearest so far breaks them.
    """
    kept = _hypervolume_values(study)
    if not kept:
        return Progress("the nearest breaks the limits by (%)", tuple(_nearest_so_far(study)))
    columns = list(zip(*kept.values(), strict=True))
    low, high = [min(column) for column in columns], [max(column) for column in columns]
    scaled = {
        number: tuple((v - a) / (b - a) if b > a else 0.0 for v, a, b in zip(values, low, high, strict=True))
        for number, values in kept.items()
    }
    reference, volumes = [1.1] * len(columns), [0.0]
    seen: list[tuple[float, ...]] = []
    for trial in study.trials:
        if trial.number in scaled:
            seen.append(scaled[trial.number])
        volumes.append(hypervolume(seen, reference) if trial.number in scaled else volumes[-1])
    return Progress("final hypervolume reached (%)", tuple(100 * volume / volumes[-1] for volume in volumes[1:]))


def progress_chart(study: StudyData) -> tuple[Any, str]:
    """Return the progress as a figure over trials, and for the script the same over minutes as JSON."""
    figure, progress = plotly_figure().Figure(), progress_of(study)
    elapsed = list(accumulate(trial.seconds / 60 for trial in study.trials))
    places = {trial.number: place for place, trial in enumerate(study.trials)}
    numbers = [trial.number for trial in study.trials]
    figure.add_scatter(
        x=numbers, y=progress.shares, mode="lines", showlegend=False, hoverinfo="skip",
        line={"color": _GREY, "width": 1.5, "shape": "hv"},
    )  # fmt: skip
    over: dict[str, list[list[float]]] = {"trials": [[*numbers]], "minutes": [elapsed]}
    for name, members, marker in _series(study):
        at = [places[trial.number] for trial in members]
        figure.add_scatter(
            x=[numbers[place] for place in at], y=[progress.shares[place] for place in at], mode="markers", name=name,
            marker=marker, customdata=[_trial_words(study, trial) for trial in members],
            hovertemplate=f"%{{customdata}}<br>{progress.title}: %{{y:.0f}}<extra>%{{fullData.name}}</extra>",
        )  # fmt: skip
        over["trials"].append([numbers[place] for place in at])
        over["minutes"].append([elapsed[place] for place in at])
    dress(figure, 430)
    figure.update_xaxes(title="trials", range=[-1, len(numbers)])
    figure.update_yaxes(title=progress.title, rangemode="tozero")
    titles = {"trials": "trials", "minutes": "minutes of measuring and training, together"}
    return figure, _inside({"over": over, "titles": titles})


def _nearest_so_far(study: StudyData) -> list[float]:
    """Least excess up to each trial in per cent; what is beyond counting comes as twice the worst that can be told."""
    found = [
        study.goals.excess(trial.measurement.metrics, study.baseline_metrics)
        if trial.ok and trial.fidelity == 1
        else math.inf
        for trial in study.trials
    ]
    worst = max((excess for excess in found if excess < math.inf), default=0.5)
    return [100 * min(least, 2 * worst) for least in accumulate(found, min)]


def _series(study: StudyData) -> list[tuple[str, list[Trial], dict[str, Any]]]:
    """Trials by who proposed them; partial ones are open, those that failed are crosses."""
    found = []
    strategies = list(dict.fromkeys(trial.strategy or "unnamed" for trial in study.trials))
    for place, strategy in enumerate(strategies):
        colour, symbol = _COLOURS[place % len(_COLOURS)], _SYMBOLS[place % len(_SYMBOLS)]
        for partial in (False, True):
            own = [
                trial
                for trial in study.trials
                if trial.ok and (trial.strategy or "unnamed") == strategy and (trial.fidelity < 1) == partial
            ]
            look = {"symbol": f"{symbol}-open" if partial else symbol, "color": colour, "size": 9}
            found.append((f"{escape(strategy)}{', in part' if partial else ''}", own, look))
    failed = [trial for trial in study.trials if not trial.ok]
    found.append(("failed", failed, {"symbol": "x", "color": _FAILED, "size": 9}))
    return [series for series in found if series[1]]


def _hypervolume_values(study: StudyData) -> dict[int, tuple[float, ...]]:
    """Objectives by number, lower is better, of the trials in full that keep the limits."""
    found = {}
    for trial in study.trials:
        values = study.goals.values(trial.measurement.metrics) if trial.ok and trial.fidelity == 1 else None
        if values is None or study.goals.excess(trial.measurement.metrics, study.baseline_metrics):
            continue
        found[trial.number] = tuple(
            math.copysign(1.0, value) * math.log(abs(value)) if study.logarithmic(name) and value else value
            for name, value in zip(study.objectives, values, strict=True)
        )
    return found


def _drawable(study: StudyData) -> list[str]:
    return [name for name in study.metrics if metric_kind(name).better != "neither"]


def _ends(study: StudyData, point: Point, name: str) -> list[float] | None:
    """Value and both ends of its interval, in the unit that is written."""
    metric = point.metrics.get(name)
    if metric is None or metric.value is None or not point.trial.ok:
        return None
    factor, low, high = study.scale(name).factor, metric.low, metric.high
    ends = (metric.value, metric.value) if low is None or high is None else (low, high)
    return [round(number / factor, 6) for number in (metric.value, *ends)]


def _text(study: StudyData, point: Point, name: str) -> str:
    metric = point.metrics.get(name)
    return "not measured" if metric is None or metric.value is None else study.scale(name).full(metric)


def _words(study: StudyData, point: Point) -> str:
    trial = point.trial
    by = f", proposed by {trial.strategy}" if trial.strategy else ""
    reason = f": {trial.measurement.reason}" if trial.measurement.reason else ""
    words = STANDINGS[point.standing].partition(":")[0] if trial.ok else trial.measurement.status.replace("-", " ")
    broken = [study.title_of(one.limit.metric) for one in study.verdicts(point.metrics) if not one.kept]
    passed = f", breaks the limit of {' and '.join(broken)}" if trial.ok and broken else ""
    return f"{words}{passed}{by}{reason}"


def _simple(study: StudyData, values: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: round((metric.value or 0.0) / study.scale(name).factor, 6)
        for name, metric in simple_values(values).items()
        if name in study.metrics
    }


def _trial_words(study: StudyData, trial: Trial) -> str:
    share = "" if trial.fidelity == 1 else f"<br>{trial.fidelity:.0%} of the training and of the data"
    measured = trial.measurement
    state = "" if trial.ok else f"<br>{measured.status.replace('-', ' ')}: {escape(measured.reason)}"
    return f"<b>#{trial.number} {escape(configuration_text(trial.configuration))}</b>{share}{state}"


def _inside(data: Any) -> str:
    return json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
