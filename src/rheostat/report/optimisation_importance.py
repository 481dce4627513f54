"""Importance of each choice for each objective, as a table of bars, and what each value of an axis comes to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from statistics import median

from rheostat.core.importance import SHUFFLES, Effect, importance
from rheostat.report.leaderboard_groups import knob_text
from rheostat.report.optimisation_study import Point, StudyData

__all__ = ["effects_of", "importance_html"]


def effects_of(study: StudyData) -> dict[str, dict[str, Effect | None]]:
    """Return what each axis explains of each objective: metric to axis to effect.

    Costs go in as logarithms, so that what multiplies them adds up. Axes that no trial changed are left out.
    """
    names = [axis.name for axis in study.space.axes if _values(study, axis.name) > 1]
    found = {}
    for metric in study.objectives:
        there = [point for point in study.measured if point.value(metric) is not None]
        turned = math.log if study.logarithmic(metric) else float
        values = [turned(point.value(metric) or 0.0) for point in there]
        found[metric] = importance([point.trial.configuration for point in there], values, names)
    return found


def importance_html(study: StudyData) -> str:
    """Return the section; empty where no axis was changed."""
    effects = effects_of(study)
    names = list(next(iter(effects.values()), {}))
    if not names:
        return ""
    names.sort(key=lambda name: -max(_share(effects[metric][name]) for metric in effects))
    heads = "".join(f'<th scope="col">{escape(title)}</th>' for title in ("choice", *map(study.title_of, effects)))
    rows = "".join(
        f'<tr><th scope="row">{escape(name.replace("_", " "))}<small>{escape(_what(study, name))}</small></th>'
        + "".join(_cell(effects[metric][name]) for metric in effects)
        + "</tr>"
        for name in names
    )
    return (
        f'<h2>Which choices matter</h2><p class="soft">{escape(_CAPTION)}</p>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="Which choices matter"><table class="effects">'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{_by_value(study, names)}"
    )


_CAPTION = (
    "Share of an objective's variance between the values of one choice (main effect, epsilon squared; costs as "
    "logarithms), over the trials that have the choice. Grey with a question mark: too few trials of some value, or "
    f"chance explains as much more often than once in 20 ({SHUFFLES} shuffles). A search looks where it is good, so "
    "its trials are no random sample: two choices that were changed together share their merit."
)


def _values(study: StudyData, axis: str) -> int:
    return len({point.trial.configuration.get(axis) for point in study.measured} - {None})


def _share(effect: Effect | None) -> float:
    return 0.0 if effect is None else effect.share


def _what(study: StudyData, name: str) -> str:
    return study.space.axis(name).what


def _cell(effect: Effect | None) -> str:
    if effect is None:
        return '<td class="none" title="too few trials">&ndash;</td>'
    share = f"{effect.share * 100:.0f}\N{NO-BREAK SPACE}%"
    facts = (
        f"{effect.trials} trials, {effect.groups} values, the rarest with {effect.smallest}; "
        f"chance explains as much in {effect.chance * 100:.1f} % of shuffles"
    )
    mark, doubt = ("", "") if effect.sure else (" unsure", ' <abbr title="not sure">?</abbr>')
    return (
        f'<td class="effect{mark}" title="{escape(facts)}"><span class="bar" style="--w:{effect.share:.3f}"></span>'
        f"{share}{doubt}<small>{effect.trials} trials</small></td>"
    )


def _by_value(study: StudyData, names: list[str]) -> str:
    heads = "".join(
        f'<th scope="col">{escape(title)}</th>'
        for title in ("choice", "value", "trials", *map(study.title_of, study.objectives))
    )
    rows = "".join(_value_row(study, name, value) for name in names for value in study.space.axis(name).values)
    return (
        "<details><summary>Every value of every choice: median of its trials</summary>"
        '<div class="scroll" tabindex="0" role="region" aria-label="Every value of every choice">'
        f'<table class="levels"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div></details>'
    )


def _value_row(study: StudyData, name: str, value: object) -> str:
    points = [point for point in study.measured if point.trial.configuration.get(name) == value]
    if not points:
        return ""
    cells = "".join(f"<td>{escape(_median(study, metric, points))}</td>" for metric in study.objectives)
    text = escape(knob_text(value))
    return f'<tr><th scope="row">{escape(name)}</th><td>{text}</td><td>{len(points)}</td>{cells}</tr>'


def _median(study: StudyData, metric: str, points: Sequence[Point]) -> str:
    values = [value for point in points if (value := point.value(metric)) is not None]
    return study.number(metric, median(values)) if values else "\N{EN DASH}"
