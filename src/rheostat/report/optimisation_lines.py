"""Parallel coordinates of all configurations: a level line a choice and an objective, as SVG that follows the theme."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from rheostat.core.knob import Value
from rheostat.core.metrics import metric_kind
from rheostat.report.leaderboard_groups import knob_text
from rheostat.report.optimisation_study import STANDINGS, Point, Standing, StudyData

__all__ = ["BANDS", "band_of", "lines_html"]

BANDS = 5
"""Into how many colours quality is divided, from the worst to the best."""

_LEVEL, _AXIS, _LEFT, _WIDTH = 64, 46, 50.0, 900.0
_ABSENT = "not set"
_ARROWS = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}", "neither": ""}
# What is drawn later lies on top.
_ORDER: tuple[Standing, ...] = ("failed", "infeasible", "dominated", "front", "baseline", "recommended")


@dataclass(frozen=True, slots=True)
class _Level:
    """One level line: its name, the places of its labels, and those of the points, all from 0 to 1."""

    name: str
    labels: tuple[tuple[float, str], ...]
    places: Mapping[int, float]


def lines_html(study: StudyData) -> str:
    """Return the section; empty where fewer than two configurations worked."""
    if len(study.measured) < 2:
        return ""
    levels = [*_choices(study), *_objectives(study)]
    height = _LEVEL * len(levels)
    lines = "".join(_line(study, point, levels) for point in _drawn(study))
    marks = "".join(_marks(level, number) for number, level in enumerate(levels))
    rules = "".join(
        f'<line class="rule" x1="{_LEFT:g}" x2="{_LEFT + _WIDTH:g}" y1="{y}" y2="{y}"/>'
        for y in (number * _LEVEL + _AXIS for number in range(len(levels)))
    )
    words = (
        f"{len(study.points)} configurations over {', '.join(level.name for level in levels)}. "
        "The table of all trials holds the same."
    )
    return (
        f'<h2>All configurations at once</h2><p class="soft">{escape(_CAPTION)}</p>{_picks(study)}{_legend(study)}'
        f'<div class="coordinates" id="lines" data-show="all" style="height:{height}px">'
        f'<svg viewBox="0 0 1000 {height}" preserveAspectRatio="none" role="img" aria-label="{escape(words)}">'
        f"{rules}{lines}</svg>{marks}</div>"
        '<p class="soft picked" id="lines-picked" aria-live="polite"></p>'
    )


def band_of(study: StudyData, point: Point) -> int | None:
    """Return the colour of a point by its quality, from 0, the worst fifth of all points, to `BANDS` - 1."""
    places = _goodness(study, study.quality) if study.quality else {}
    own = places.get(point.trial.number)
    return None if own is None else BANDS * sum(place < own for place in places.values()) // len(places)


_CAPTION = (
    "A line is a configuration, from what was chosen down to what came of it. On the objectives the best value stands "
    "at the right. The colour is the quality, in fifths. Dotted lines break a limit, dashed is the baseline, the "
    "thick one is recommended; a line that ends early failed."
)


def _choices(study: StudyData) -> list[_Level]:
    found = []
    for axis in study.space.axes:
        values = [point.trial.configuration.get(axis.name) for point in study.points]
        if len(set(values)) < 2:
            continue
        places: list[Value | None] = [value for value in axis.values if value in values]
        places += [None] if None in values else []
        found.append(_choice(study, axis.name, places))
    return found


def _choice(study: StudyData, name: str, values: list[Value | None]) -> _Level:
    """Points of one value lie beside each other, the better the further right, so that lines can be told apart."""
    last = len(values) - 1
    room, good = min(0.25 / max(last, 1), 0.05), _goodness(study, study.quality) if study.quality else {}
    places = {}
    for point in study.points:
        middle = values.index(point.trial.configuration.get(name)) / last
        places[point.trial.number] = middle + 2 * room * (good.get(point.trial.number, 0.5) - 0.5)
    labels = tuple((place / last, _ABSENT if value is None else knob_text(value)) for place, value in enumerate(values))
    return _Level(name.replace("_", " "), labels, places)


def _objectives(study: StudyData) -> list[_Level]:
    found = []
    for metric in study.objectives:
        places = _goodness(study, metric)
        if len(set(places.values())) < 2:
            continue
        there = [point for point in study.measured if point.trial.number in places]
        there.sort(key=lambda point: places[point.trial.number])
        texts = [study.scale(metric).text(point.metrics[metric]) for point in (there[0], there[-1])]
        name = f"{study.title_of(metric)} {_ARROWS[metric_kind(metric).better]}"
        found.append(_Level(name, ((0.0, texts[0]), (1.0, texts[1])), places))
    return found


def _goodness(study: StudyData, metric: str) -> dict[int, float]:
    """Return where each point stands between the worst, 0, and the best, 1."""
    turn = math.log if study.logarithmic(metric) else float
    values = {point.trial.number: turn(value) for point in study.measured if (value := point.value(metric)) is not None}
    low, high = min(values.values(), default=0.0), max(values.values(), default=0.0)
    if low == high:
        return dict.fromkeys(values, 0.5)
    better = metric_kind(metric).better
    shares = {number: (value - low) / (high - low) for number, value in values.items()}
    return {number: 1 - share if better == "lower" else share for number, share in shares.items()}


def _drawn(study: StudyData) -> list[Point]:
    return sorted(study.points, key=lambda point: (_ORDER.index(point.standing), band_of(study, point) or 0))


def _line(study: StudyData, point: Point, levels: list[_Level]) -> str:
    number, band = point.trial.number, band_of(study, point)
    ends = " ".join(
        f"{_LEFT + _WIDTH * level.places[number]:.1f},{place * _LEVEL + _AXIS}"
        for place, level in enumerate(levels)
        if number in level.places
    )
    marks = f"line {point.standing}{' kept' if point.feasible else ''}{'' if band is None else f' q{band}'}"
    told = escape(_told(study, point))
    return f'<polyline class="{marks}" data-n="{number}" points="{ends}"><title>{told}</title></polyline>'


def _told(study: StudyData, point: Point) -> str:
    numbers = [
        f"{study.title_of(name)} {study.scale(name).full(point.metrics[name])}"
        for name in study.objectives
        if point.value(name) is not None
    ]
    reason = point.trial.measurement.reason
    return f"{point.name}: {'; '.join(numbers) or reason or 'no numbers'} ({STANDINGS[point.standing].split(':')[0]})"


def _marks(level: _Level, number: int) -> str:
    top, width = number * _LEVEL, 100 / max(len(level.labels), 2)
    labels = "".join(
        f'<span class="tick" style="left:{(_LEFT + _WIDTH * place) / 10:.2f}%;top:{top + 19}px;'
        f'max-width:{width:.1f}%" title="{escape(text)}">{escape(text)}</span>'
        for place, text in level.labels
    )
    return f'<span class="name" style="top:{top}px">{escape(level.name)}</span>{labels}'


def _picks(study: StudyData) -> str:
    chosen = reversed(_drawn(study))
    options = "".join(f'<option value="{one.trial.number}">{escape(one.name)}</option>' for one in chosen)
    return (
        '<div class="choose"><label>Show <select id="lines-show"><option value="all">all</option>'
        '<option value="kept">what keeps the limits</option><option value="front">the front</option></select></label>'
        f'<label>Pick out <select id="lines-pick"><option value="">none</option>{options}</select></label></div>'
    )


def _legend(study: StudyData) -> str:
    values = [value for point in study.measured if (value := point.value(study.quality)) is not None]
    if not study.quality or not values:
        return ""
    ends = [study.number(study.quality, end) for end in (min(values), max(values))]
    if metric_kind(study.quality).better == "lower":
        ends.reverse()
    swatches = "".join(f'<i class="q{band}"></i>' for band in range(BANDS))
    return (
        f'<p class="bands soft">{escape(study.title_of(study.quality))}: {escape(ends[0])} {swatches} '
        f"{escape(ends[1])}</p>"
    )
