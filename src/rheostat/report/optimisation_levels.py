"""Quality at cost and cost at quality: what the best measured configuration has at each of several levels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Final

from rheostat.core.metrics import metric_kind
from rheostat.report.optimisation_sentences import gain_text, numbered
from rheostat.report.optimisation_study import Point, StudyData
from rheostat.report.wording import is_share

__all__ = ["COST_LEVELS", "Level", "cost_at_quality", "levels_html", "quality_at_cost", "quality_levels"]

COST_LEVELS: Final = (1.0, 0.75, 0.5, 1 / 3, 0.25, 1 / 6, 0.125)
"""Shares of the baseline's cost that quality is told at."""

_SHARE_LOSSES: Final = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)
_RATIO_LOSSES: Final = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class Level:
    """A level of one metric, and the best configuration at it for each of the others.

    Attributes:
        name: The level relative to the baseline, in words.
        bounds: Metric of cost to the number it comes to, where the level is one of cost; empty otherwise.
        best: Metric of cost to the best configuration; None where none was measured.
    """

    name: str
    bounds: dict[str, float]
    best: dict[str, Point | None]


def quality_at_cost(study: StudyData) -> list[Level]:
    """Return, at each share of the baseline's cost, the configuration with the best quality that costs no more.

    Limits do not count here. Levels that no configuration reaches in any cost are left out.
    """
    levels = []
    for share in COST_LEVELS:
        bounds = {
            name: share * value
            for name in _costs(study)
            if (value := _baseline(study, name)) is not None and study.quality
        }
        best = {name: _best_quality(study, name, bound) for name, bound in bounds.items()}
        if any(best.values()):
            levels.append(Level(_share_text(share), bounds, best))
    return levels


def cost_at_quality(study: StudyData) -> list[Level]:
    """Return, at each loss of quality against the baseline, the configuration that costs least and loses no more.

    Limits do not count here.
    """
    levels = []
    for name, bound in quality_levels(study):
        best = {cost: _least_cost(study, cost, bound) for cost in _costs(study)}
        if any(best.values()):
            levels.append(Level(name, {study.quality: bound}, best))
    return levels


def quality_levels(study: StudyData) -> list[tuple[str, float]]:
    """Return levels of quality in words and as numbers, from the baseline's downwards."""
    start = _baseline(study, study.quality)
    if start is None:
        return []
    if is_share(study.quality):
        sign = -1 if metric_kind(study.quality).better == "higher" else 1
        return [(_points_text(loss), start + sign * loss) for loss in _SHARE_LOSSES]
    sign = -1 if metric_kind(study.quality).better == "higher" else 1
    return [(_per_cent_text(loss), start * (1 + sign * loss)) for loss in _RATIO_LOSSES]


def levels_html(study: StudyData) -> str:
    """Return both tables; empty where there is no quality, no cost or no baseline."""
    at_cost, at_quality = quality_at_cost(study), cost_at_quality(study)
    if not at_cost or not at_quality:
        return ""
    title = study.title_of(study.quality)
    return (
        f"<h2>Quality at cost, cost at quality</h2><p class='soft'>{escape(_CAPTION + _REQUESTS * study.batches)}</p>"
        f"<h3>Best {escape(title)} at a cost</h3>"
        f"{_table(study, at_cost, 'cost, of the baseline', _quality_cell)}"
        f"<h3>Least cost at a quality</h3>{_table(study, at_quality, f'{title}, beside the baseline', _cost_cell)}"
    )


_CAPTION = (
    "Limits do not count here, and each column is a matter of its own: two cells of a row may be two configurations. "
    "The best of many measured values is a little too good: intervals are those of the configuration alone."
)
_REQUESTS = " Latencies are those of a whole request, of however many rows; their gains are by row."


def _costs(study: StudyData) -> list[str]:
    lower = [name for name in study.costs if metric_kind(name).better == "lower"]
    return [name for name in lower if _baseline(study, name)]


def _baseline(study: StudyData, name: str) -> float | None:
    found = study.baseline_metrics.get(name)
    return None if found is None else found.value


def _best_quality(study: StudyData, cost: str, bound: float) -> Point | None:
    sign = 1 if metric_kind(study.quality).better == "lower" else -1
    there = [
        (sign * quality, value, point)
        for point in study.measured
        if (value := point.value(cost)) is not None
        and value <= bound * (1 + _ROUNDING)
        and (quality := point.value(study.quality)) is not None
    ]
    return min(there, key=lambda item: item[:2], default=(0.0, 0.0, None))[2]


def _least_cost(study: StudyData, cost: str, bound: float) -> Point | None:
    sign = 1 if metric_kind(study.quality).better == "lower" else -1
    there = [
        (value, sign * quality, point)
        for point in study.measured
        if (value := point.value(cost)) is not None
        and (quality := point.value(study.quality)) is not None
        and sign * quality <= sign * bound + _ROUNDING * abs(bound)
    ]
    return min(there, key=lambda item: item[:2], default=(0.0, 0.0, None))[2]


_ROUNDING = 1e-9


def _table(study: StudyData, levels: list[Level], head: str, cell: Callable[[StudyData, Level, str], str]) -> str:
    costs = list(levels[0].best)
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in (head, *map(study.title_of, costs)))
    rows = "".join(
        f'<tr><th scope="row">{escape(level.name)}{_bound(study, level)}</th>'
        + "".join(cell(study, level, cost) for cost in costs)
        + "</tr>"
        for level in levels
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(head)}"><table class="levels">'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _bound(study: StudyData, level: Level) -> str:
    bound = level.bounds.get(study.quality)
    return "" if bound is None else f"<small>{escape(study.number(study.quality, bound))}</small>"


def _quality_cell(study: StudyData, level: Level, cost: str) -> str:
    below = f"at most {study.number(cost, level.bounds[cost])}"
    return _cell(study, level.best[cost], study.quality, below)


def _cost_cell(study: StudyData, level: Level, cost: str) -> str:
    point = level.best[cost]
    gain = None if point is None else study.gain(point, cost)
    return _cell(study, point, cost, "" if gain is None else gain_text(cost, gain).partition(" (")[0])


def _cell(study: StudyData, point: Point | None, metric: str, below: str) -> str:
    if point is None:
        return f'<td class="none">none measured<small>{escape(below)}</small></td>'
    text = study.scale(metric).full(point.metrics[metric])
    return (
        f'<td>{escape(text)}<small>{escape(below)}</small><a href="#trial-{point.trial.number}">'
        f"{numbered(point.trial)}</a></td>"
    )


def _share_text(share: float) -> str:
    return "the same" if share == 1 else f"{share * 100:.3g} %"


def _points_text(loss: float) -> str:
    return "no lower" if loss == 0 else f"at most {loss * 100:g} point{'' if loss == 0.01 else 's'} worse"


def _per_cent_text(loss: float) -> str:
    return "no worse" if loss == 0 else f"at most {loss * 100:g} % worse"
