"""A profile's headline: what was gained, at what price, and whether a simple model does as well."""

from __future__ import annotations

from rheostat.core.machine import machine_text
from rheostat.core.profile import Profile
from rheostat.report.wording import (
    best_within_allowance,
    is_share,
    loss_text,
    lower_is_better,
    metric_name,
    metric_of,
    neutral_point,
    quality_text,
    seconds_text,
    settings_text,
    speedup_text,
)

__all__ = ["baseline_warning", "headline", "headline_cards"]


def headline(profile: Profile) -> str:
    """Return the profile in one or two sentences."""
    metric, plain = metric_of(profile), neutral_point(profile)
    best, machine = best_within_allowance(profile, metric), machine_text(profile.device)
    fastest = max(profile.points, key=lambda point: point.speedup)
    if best is None:
        speed = f"{speedup_text(fastest)} as fast as the plain model"
        return f"At {settings_text(fastest)} it runs {speed} on {machine}."
    if best == plain:
        return (
            f"No faster setting stays within {_allowance(metric)} of the plain model's {metric_name(metric)} "
            f"({quality_text(metric, plain.quality[metric])}) on {machine}."
        )
    loss = loss_text(metric, best.quality[metric], plain.quality[metric])
    return (
        f"At {settings_text(best)} it runs {speedup_text(best)} as fast as the plain model, "
        f"with {metric_name(metric)} {quality_text(metric, best.quality[metric])} ({loss}), on {machine}."
    )


def headline_cards(profile: Profile) -> list[tuple[str, str, str]]:
    """Return the headline numbers as (label, value, remark)."""
    metric, plain = metric_of(profile), neutral_point(profile)
    fastest, best = (
        max(profile.points, key=lambda point: point.speedup),
        best_within_allowance(profile, metric),
    )
    cards = []
    if best is not None:
        remark = f"{settings_text(best)}, {quality_text(metric, best.quality[metric])}"
        cards.append((f"fastest within {_allowance(metric)}", f"{best.speedup:.2f}x", remark))
    lowest = quality_text(metric, fastest.quality.get(metric)) if metric else seconds_text(fastest.seconds)
    cards.append(("fastest measured", f"{fastest.speedup:.2f}x", f"{settings_text(fastest)}, {lowest}"))
    if metric in plain.quality:
        cards.append(
            (
                f"plain model, {metric_name(metric)}",
                quality_text(metric, plain.quality[metric]),
                seconds_text(plain.seconds),
            )
        )
    for name, values in profile.baselines.items():
        # Always naming the commonest class is a line in the chart and a row in the table, and no headline.
        if metric in values and name != "majority":
            cards.append(
                (
                    f"{name} model, {metric_name(metric)}",
                    quality_text(metric, values[metric]),
                    "for comparison",
                )
            )
    return cards


def baseline_warning(profile: Profile) -> str:
    """Say so where a simple model is at least as good as the plain model; empty otherwise."""
    metric, plain = metric_of(profile), neutral_point(profile)
    if metric not in plain.quality:
        return ""
    sign = -1 if lower_is_better(metric) else 1
    better = [
        f"the {name} model reaches {quality_text(metric, values[metric])}"
        for name, values in profile.baselines.items()
        if metric in values and sign * values[metric] >= sign * plain.quality[metric]
    ]
    if not better:
        return ""
    return (
        f"A simple model does as well here: {' and '.join(better)}, the plain model "
        f"{quality_text(metric, plain.quality[metric])}. "
        "On this data a transformer may not be worth its cost."
    )


def _allowance(metric: str) -> str:
    return "1 point" if is_share(metric) else "5 %"
