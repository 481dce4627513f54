"""From where a search stands to its result: what is recommended, and why, in words and as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rheostat.core.metrics import Metric, metric_kind
from rheostat.core.quantities import configuration_words, quantity_text
from rheostat.core.result import Binding, Finding, Result, Status, limit_words
from rheostat.core.score import ALLOWED_LOSS, QUALITY, Score
from rheostat.search.evidence import Evidence
from rheostat.search.picture import Picture
from rheostat.search.problem import Problem

__all__ = ["choose", "conclude", "judged_simple_models"]

_SIMPLE = {"majority": "Always naming the most frequent class", "linear": "A linear model on TF-IDF"}


def choose(picture: Picture) -> Evidence | None:
    """Return what to recommend; None where nothing that was measured keeps the limits.

    That is the best of what was confirmed by a measurement of its own; where nothing was, the best.
    """
    kept = picture.kept
    return next((one for one in kept if picture.confirmed(one)), kept[0] if kept else None)


def conclude(
    picture: Picture, simple: Mapping[str, Mapping[str, float]], *, trials: int, seconds: float, ended: str
) -> Result:
    """Return the result of a search.

    Args:
        picture: Where it stands.
        simple: Quality of models that cost nothing.
        trials: Measurements made.
        seconds: Wall-clock so far.
        ended: Why it ended; empty while it goes on.
    """
    chosen = choose(picture)
    baseline = picture.baseline
    judged = judged_simple_models(picture.problem, simple, picture.baseline_metrics)
    status: Status = "unconfirmed"
    if chosen is not None and picture.confirmed(chosen):
        status = "ok"
    elif chosen is None and ended not in ("", "interrupted"):
        status = "infeasible"
    recommended = None if chosen is None else picture.finding(chosen)
    binding = picture.blocking() if chosen is None else picture.beyond(chosen)
    front = sorted(picture.front, key=lambda one: one is not chosen)
    return Result(
        status,
        recommended,
        tuple(picture.finding(one) for one in front),
        None if baseline is None else picture.finding(baseline),
        judged,
        binding,
        trials,
        seconds,
        ended,
        tuple(_why(picture, recommended, binding, judged, ended)),
        tuple(_notes(picture, chosen, recommended)),
    )


def judged_simple_models(
    problem: Problem, simple: Mapping[str, Mapping[str, float]], baseline: Mapping[str, Metric]
) -> dict[str, dict[str, Any]]:
    """Return the quality of simple models, each with ``meets``: whether it keeps every limit on quality.

    Where there is none, it is compared with the baseline. What they cost is not measured.
    """
    limits = [limit for limit in problem.goals.limits if limit.metric in QUALITY]
    found: dict[str, dict[str, Any]] = {}
    for name, values in simple.items():
        metrics = {metric: Metric(value, metric_kind(metric).unit) for metric, value in values.items()}
        if limits:
            meets = all(limit.verdict(metrics, baseline).kept for limit in limits)
        else:
            meets = _as_good(metrics, baseline)
        found[name] = {**values, "meets": meets}
    return found


def _as_good(metrics: Mapping[str, Metric], baseline: Mapping[str, Metric]) -> bool:
    both = [name for name in QUALITY if name in metrics and name in baseline]
    here, there = (metrics[both[0]].value, baseline[both[0]].value) if both else (None, None)
    if here is None or there is None:
        return False
    return here >= there if metric_kind(both[0]).better == "higher" else here <= there


def _why(
    picture: Picture,
    recommended: Finding | None,
    binding: Binding | None,
    simple: Mapping[str, Mapping[str, Any]],
    ended: str,
) -> list[str]:
    said = []
    # The cheapest that will do is what to think of first.
    if meeting := next((name for name in reversed(_SIMPLE) if simple.get(name, {}).get("meets")), None):
        said.append(_cheap_text(meeting, simple[meeting], picture.problem))
    if recommended is not None:
        return [*said, *_recommended_text(picture, recommended, binding)]
    if binding is not None and binding.nearest is not None:
        said.append(_infeasible_text(binding, ended))
    elif not picture.complete:
        said.append("Nothing was measured in full.")
    return said


def _cheap_text(name: str, values: Mapping[str, Any], problem: Problem) -> str:
    metric = next(each for each in values if each != "meets")
    limited = any(limit.metric in QUALITY for limit in problem.goals.limits)
    reach = "which keeps every limit on quality" if limited else "which is no worse than the default configuration"
    return (
        f"{_SIMPLE[name]} reaches {metric} {quantity_text(metric, values[metric])} on the validation rows, {reach}, "
        "at a small part of the cost: think of that first."
    )


def _recommended_text(picture: Picture, one: Finding, binding: Binding | None) -> list[str]:
    said = [f"Recommended: {configuration_words(one.configuration)} (trial {one.number})."]
    if one.score is not None:
        said.append(_gains_text(one.score))
    limits = picture.problem.goals.limits
    if limits and one.confirmed:
        kept = ", ".join(_kept_text(picture, one, index) for index in range(len(limits)))
        said.append(f"Measured again after it was chosen, it keeps every limit: {kept}.")
    if not one.confirmed:
        said.append("It was not measured again after it was chosen: an earlier measurement says that it keeps limits.")
    if binding is not None and binding.nearest is not None:
        said.append(_relax_text(binding))
    elif limits:
        said.append("No limit stands in the way of something better among what was measured.")
    return said


def _gains_text(score: Score) -> str:
    gains = [f"{part} {found:.3g}x" for part, found in score.gains.items() if found is not None]
    lost = "" if score.lost is None else f", {abs(score.lost):.1f} points of quality {_won(score.lost)}"
    mean = "" if score.value is None else f"; {score.value:.3g}x in the geometric mean"
    estimated = f" (energy {score.energy})" if score.energy in ("estimated", "sampled") else ""
    return f"Saved against the default configuration: {', '.join(gains)}{estimated}{mean}{lost}." if gains else ""


def _won(lost: float) -> str:
    return "lost" if lost > 0 else "won"


def _kept_text(picture: Picture, one: Finding, index: int) -> str:
    limit = picture.problem.goals.limits[index]
    verdict = limit.verdict(one.metrics, picture.baseline_metrics)
    found = "" if verdict.found is None else quantity_text(limit.metric, verdict.found)
    bound = "at most" if limit.bound == "most" else "at least"
    return f"{limit.metric} {found} ({bound} {quantity_text(limit.metric, verdict.asked)})"


def _relax_text(binding: Binding) -> str:
    nearest = binding.nearest
    if nearest is None or binding.found is None or binding.asked is None:
        return ""
    metric = binding.limit.metric
    buys = ", ".join(f"{name} {ratio:.2f}x" for name, ratio in binding.buys.items())
    return (
        f"What binds is {limit_words(binding.limit)}: at {quantity_text(metric, binding.found)} instead of "
        f"{quantity_text(metric, binding.asked)} there would be {configuration_words(nearest.configuration)} "
        f"(trial {nearest.number})" + (f", with {buys}." if buys else ".")
    )


def _infeasible_text(binding: Binding, ended: str) -> str:
    nearest, metric = binding.nearest, binding.limit.metric
    named = "" if nearest is None else f"{configuration_words(nearest.configuration)} (trial {nearest.number})"
    start = "Nothing keeps every limit" if ended not in ("", "interrupted") else "So far nothing keeps every limit"
    if binding.found is None or binding.asked is None or binding.excess is None:
        return f"{start}: {metric} was not measured, and a metric that is missing fails its limit."
    return (
        f"{start}. What binds is {limit_words(binding.limit)}: the nearest point, {named}, has "
        f"{quantity_text(metric, binding.found)} where {quantity_text(metric, binding.asked)} is asked, "
        f"{binding.excess:.1%} beyond it."
    )


def _notes(picture: Picture, chosen: Evidence | None, recommended: Finding | None) -> list[str]:
    notes = []
    if picture.problem.guards_quality:
        notes.append(
            f"No limit on quality was given: what is recommended loses at most {ALLOWED_LOSS} points where anything "
            "that keeps the limits does."
        )
    if chosen is not None:
        doubtful = chosen.straddled(picture.problem.goals.limits, picture.baseline_metrics)
        notes.extend(
            f"Noise is wider than what is left to the limit: {limit_words(limit)}."
            for limit in doubtful
            if recommended is not None and recommended.confirmed
        )
        better = [one for one in picture.kept if not picture.confirmed(one)]
        if recommended is not None and recommended.confirmed and better and better[0] is picture.kept[0]:
            notes.append("Something that seems better was not measured again before the end.")
    failed = [one for one in picture.evidence.values() if one.fidelity == 0.0]
    if failed:
        notes.append(f"{len(failed)} of {len(picture.evidence)} configurations failed; the study says why.")
    return notes
