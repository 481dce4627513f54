"""What a search says first: the recommendation, its evidence, the limit that binds; for pages and terminals alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from rheostat.core.comparison import judge
from rheostat.core.goals import Limit, LimitVerdict
from rheostat.core.metrics import Metric, metric_kind
from rheostat.core.score import QUALITY
from rheostat.core.statistics import Estimate
from rheostat.core.trial import Trial
from rheostat.report.leaderboard_groups import BASELINE_NAMES, configuration_text
from rheostat.report.optimisation_study import Point, StudyData, as_metric
from rheostat.report.wording import is_share, loss_text

__all__ = [
    "LimitRow",
    "binding_sentence",
    "change_text",
    "gain_text",
    "limit_rows",
    "limit_words",
    "nearest_point",
    "numbered",
    "opening",
    "recommendation",
    "simple_sentences",
    "simple_values",
    "summary",
]


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit beside what the shown configuration has, in words.

    Attributes:
        name: The limit.
        asked: The number it comes to.
        found: What was measured, with its interval.
        room: What is left, or by how much it is broken.
        kept: Whether it is kept.
        relaxing: What relaxing it alone would buy.
    """

    name: str
    asked: str
    found: str
    room: str
    kept: bool
    relaxing: str


def opening(study: StudyData) -> list[str]:
    """Return the first sentences, the most important first: a simple model, no solution, or the recommendation."""
    simple = [sentence for sentence, meets in simple_sentences(study) if meets]
    return [*simple, recommendation(study)]


def summary(study: StudyData) -> list[str]:
    """Return a few sentences for a terminal: what comes first, each limit, and the one that binds."""
    point = study.recommended or nearest_point(study)
    rows = [] if point is None else limit_rows(study, point)
    rooms = [f" ({row.room})" if row.room else "" for row in rows]
    limits = [
        f"{row.name}: {row.found}, {'kept' if row.kept else 'not kept'}{room}"
        for row, room in zip(rows, rooms, strict=True)
    ]
    estimated = [study.title_of(name) for name in study.objectives if study.is_estimated(name)]
    notes = [f"Not measured but estimated: {', '.join(estimated)}."] if estimated else []
    return [*opening(study), *limits, *filter(None, [binding_sentence(study)]), *notes, *study.result.notes]


def recommendation(study: StudyData) -> str:
    """Return the recommendation in one sentence; where nothing keeps the limits, that, and the nearest point."""
    best = study.recommended
    if best is None:
        return _infeasible(study)
    name = configuration_text(best.trial.configuration)
    gains = "; ".join(filter(None, (change_text(study, best, metric) for metric in study.objectives)))
    limits = len(study.goals.limits)
    kept = {0: "", 1: " The limit is kept."}.get(limits, f" All {limits} limits are kept.")
    if not best.feasible:
        kept = " Measured again, it breaks a limit: see below."
    elif study.result.status == "unconfirmed":
        kept = f"{kept} This was not measured a second time."
    if best.standing == "recommended" and study.baseline is not None and best.trial == study.baseline.trial:
        return f"Use the default, {name}: nothing that keeps the limits is better.{kept}"
    return f"Use {name}: {gains}.{kept}" if gains else f"Use {name}.{kept}"


def change_text(study: StudyData, point: Point, metric: str) -> str:
    """Say how far one metric of a point is from the baseline's; empty where one of them lacks it.

    For instance ``latency, p95 3.10 times lower (2.90 to 3.31)``, or ``accuracy 90.12 %, 0.60 points lower``.
    """
    here, there = point.metrics.get(metric), study.baseline_metrics.get(metric)
    if here is None or there is None or here.value is None or there.value is None:
        return ""
    title = study.title_of(metric)
    if metric in QUALITY:
        loss = loss_text(metric, here.value, there.value)
        return f"{title} {study.scale(metric).text(here)}, {loss if loss != 'the same' else 'as the baseline'}"
    found = study.gain(point, metric)
    if found is None:
        return f"{title} {study.scale(metric).text(here)} instead of {study.scale(metric).text(there)}"
    return f"{title}{study.each(point, metric)} {gain_text(metric, found)}"


def gain_text(metric: str, found: Estimate) -> str:
    """Return a gain over the baseline in words.

    Args:
        metric: The metric.
        found: How many times better it is, above 1 where it is.

    Example:
        >>> gain_text("latency_p95", Estimate(2.0, 1.9, 2.1)), gain_text("latency_p95", Estimate(0.5, 0.4, 0.625))
        ('2.00 times lower (1.90 to 2.10)', '2.00 times higher (1.60 to 2.50)')
    """
    lower = metric_kind(metric).better == "lower"
    if judge(found, "higher") == "tied":
        return "about the same"
    value, low, high = found.value, found.low, found.high
    if value < 1:
        value, low, high, lower = 1 / value, 1 / high, 1 / low if low else float("inf"), not lower
    ends = "" if low == high else f" ({low:.2f} to {high:.2f})"
    return f"{value:.2f} times {'lower' if lower else 'higher'}{ends}"


def limit_words(study: StudyData, limit: Limit) -> str:
    """Return a limit in words, for instance ``accuracy at most 1 point below the baseline``."""
    title, bound = study.title_of(limit.metric), f"at {limit.bound}"
    if limit.relative_to == "ratio":
        return f"{title} {bound} {limit.value:g} times the baseline's"
    if limit.relative_to == "nothing":
        return f"{title} {bound} {study.number(limit.metric, limit.value)}"
    side = "below" if limit.bound == "least" else "above"
    return f"{title} at most {_difference(study, limit.metric, limit.value)} {side} the baseline"


def limit_rows(study: StudyData, point: Point) -> list[LimitRow]:
    """Return each limit beside what a point has, and what relaxing it alone would buy."""
    return [_limit_row(study, point, verdict) for verdict in study.verdicts(point.metrics)]


def binding_sentence(study: StudyData) -> str:
    """Say which limit stands in the way and what relaxing it buys; empty where none does."""
    binding = study.result.binding
    if binding is None:
        return "" if not study.goals.limits or study.recommended is None else _FREE
    words, name = limit_words(study, binding.limit), binding.limit.metric
    if study.recommended is None:
        return f"What stands in the way most is {words}{_missed(study, name, binding.asked, binding.found)}."
    found = "" if binding.found is None else f" ({study.number(name, binding.found)} here)"
    near = None if binding.nearest is None else study.find(binding.nearest.configuration)
    if near is None:
        return f"The limit that binds is {words}."
    bought = _bought(study, near, study.recommended)
    return f"The limit that binds is {words}: relaxed for {near.name}{found}, it would bring {bought}."


def nearest_point(study: StudyData) -> Point | None:
    """Return the point that breaks the limits least; None where nothing worked."""
    binding = study.result.binding
    named = None if binding is None or binding.nearest is None else study.find(binding.nearest.configuration)
    broken = {point.name: sum(not one.kept for one in study.verdicts(point.metrics)) for point in study.measured}
    return named or min(study.measured, key=lambda point: (point.excess, broken[point.name]), default=None)


def numbered(trial: Trial) -> str:
    """Return a trial's number and configuration as HTML; a narrow page has room for the number alone."""
    return f'#{trial.number}<span class="wide"> {escape(configuration_text(trial.configuration))}</span>'


def simple_sentences(study: StudyData) -> list[tuple[str, bool]]:
    """Return a sentence for each simple model that says something, and whether it meets the goal."""
    found = []
    for name, values in study.result.cheap_baselines.items():
        words, metrics = BASELINE_NAMES.get(name, name), simple_values(values)
        shown = ", ".join(f"{study.title_of(each)} {study.scale(each).text(one)}" for each, one in metrics.items())
        if values.get("meets"):
            limited = any(limit.metric in QUALITY for limit in study.goals.limits)
            reach = "keeps every limit on quality" if limited else "is no worse than the default configuration"
            said = f"A simple model will do: {words} ({shown}) {reach}. Think of that first."
            found.append((said, True))
        elif _as_good(study, metrics):
            found.append((f"A simple model answers as well as what is recommended: {words} ({shown}).", False))
    return found


def simple_values(values: Mapping[str, Any]) -> dict[str, Metric]:
    """Return what is known of a simple model as metrics."""
    found = {name: as_metric(name, value) for name, value in values.items()}
    return {name: metric for name, metric in found.items() if metric is not None and metric.value is not None}


_FREE = "No limit stands in the way of something better among what was measured."


def _infeasible(study: StudyData) -> str:
    count = len(study.measured)
    so_far = "So far no" if study.result.ended in ("", "interrupted") else "No"
    start = f"{so_far} configuration keeps all limits ({count} measured in full)."
    near = nearest_point(study)
    if near is None:
        return f"{start} Nothing could be measured: see what failed."
    broken = [verdict for verdict in study.verdicts(near.metrics) if not verdict.kept]
    words = "; ".join(
        f"{limit_words(study, one.limit)}{_missed(study, one.limit.metric, one.asked, one.found)}" for one in broken
    )
    return f"{start} The nearest is {configuration_text(near.trial.configuration)}, which does not keep: {words}."


def _missed(study: StudyData, metric: str, asked: float | None, found: float | None) -> str:
    if found is None:
        near = nearest_point(study)
        reason = "" if near is None else _why_missing(near, metric)
        return f", which was not measured{reason}"
    wanted = "" if asked is None or asked != asked else f" where {study.number(metric, asked)} is asked"
    return f" (the nearest has {study.number(metric, found)}{wanted})"


def _why_missing(point: Point, metric: str) -> str:
    found = point.metrics.get(metric)
    return f" ({found.source})" if found is not None and found.source else ""


def _limit_row(study: StudyData, point: Point, verdict: LimitVerdict) -> LimitRow:
    name, limit = verdict.limit.metric, verdict.limit
    known = verdict.asked == verdict.asked
    asked = study.number(name, verdict.asked) if known else "unknown: the baseline has no value"
    metric = point.metrics.get(name)
    missing = f"not measured{_why_missing(point, name)}"
    found = missing if metric is None or metric.value is None else study.scale(name).full(metric)
    room = ""
    if known and verdict.found is not None:
        left = (verdict.asked - verdict.found) * (1 if limit.bound == "most" else -1)
        room = f"{_difference(study, name, abs(left))} {'left' if verdict.kept else 'too much'}"
        room = room.replace("too much", "too little") if limit.bound == "least" else room
    return LimitRow(limit_words(study, limit), asked, found, room, verdict.kept, _relaxing(study, point, verdict))


def _relaxing(study: StudyData, point: Point, verdict: LimitVerdict) -> str:
    """Say what configurations that break this limit alone would bring: the nearest that is better, and the best."""
    beyond = [one for one in study.measured if _breaks_alone(study, one, verdict.limit)]
    if study.recommended is None:
        return f"without it {_names(beyond)} would do" if beyond else "without it, others still stand in the way"
    own, metric = study.score(point), verdict.limit.metric
    scored = [
        (score, one) for one in beyond if (score := study.score(one)) is not None and one.value(metric) is not None
    ]
    better = [(score, one) for score, one in scored if own is not None and score > own * _WORTH]
    if own is None or not better:
        return "nothing that was measured"
    near = min(better, key=lambda pair: abs((pair[1].value(metric) or 0.0) - verdict.asked))
    best = max(better, key=lambda pair: pair[0])
    words = [
        f"at {study.scale(metric).text(one.metrics[metric])}: {one.name}, overall gain {score:.2f}x"
        for score, one in ([near, best] if near != best else [best])
    ]
    return f"{'; '.join(words)}, instead of {own:.2f}x"


_WORTH = 1.01


def _breaks_alone(study: StudyData, point: Point, limit: Limit) -> bool:
    return all(verdict.kept != (verdict.limit == limit) for verdict in study.verdicts(point.metrics))


def _names(points: Sequence[Point]) -> str:
    shown = ", ".join(f"#{point.trial.number}" for point in points[:4])
    return f"{shown} and {len(points) - 4} more" if len(points) > 4 else shown


def _bought(study: StudyData, point: Point, best: Point) -> str:
    """Say what is better in a point than in the recommended one, and what is worse."""
    better, worse = [], []
    for metric in study.costs:
        one, other = study.gain(point, metric), study.gain(best, metric)
        ratio = one.value / other.value if one is not None and other is not None else 1.0
        each = study.each(point, metric) or study.each(best, metric)
        words = f"{study.title_of(metric)}{each} {gain_text(metric, Estimate(ratio, ratio, ratio))}"
        if ratio > _WORTH:
            better.append(words)
        elif ratio < 1 / _WORTH:
            worse.append(words)
    return f"{', '.join(better) or 'more'}" + (f", but {', '.join(worse)}" if worse else "")


def _as_good(study: StudyData, metrics: Mapping[str, Metric]) -> bool:
    best, name = study.recommended, study.quality
    if best is None or name not in metrics or best.value(name) is None:
        return False
    sign = -1 if metric_kind(name).better == "lower" else 1
    return sign * (metrics[name].value or 0.0) >= sign * (best.value(name) or 0.0)


def _difference(study: StudyData, metric: str, value: float) -> str:
    if is_share(metric):
        points = f"{value * 100:.2f}".rstrip("0").rstrip(".")
        return f"{points} point{'' if points == '1' else 's'}"
    return study.number(metric, value)
