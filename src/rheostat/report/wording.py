"""Numbers in words: units, spreads, and which direction is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rheostat.core.profile import Point, Profile

__all__ = [
    "allowance_text",
    "best_within_allowance",
    "flat_facts",
    "is_share",
    "loss_text",
    "lower_is_better",
    "metric_name",
    "metric_of",
    "nearly_as_good",
    "neutral_point",
    "quality_text",
    "seconds_text",
    "settings_text",
    "speedup_text",
]

_LOWER_IS_BETTER = frozenset({"perplexity", "loss"})
_SHARES = frozenset(
    {"accuracy", "f1", "agreement", "calibration_error", "compute_utilisation", "processor_utilisation"}
)

_POINTS_ALLOWED, _GROWTH_ALLOWED = 0.01, 0.05
"""What counts as nearly as good: one percentage point of a share, 5 % more of a loss."""


def metric_of(profile: Profile) -> str:
    """Return the metric that the page is about: accuracy if there, else the first; empty if none."""
    names = [name for point in profile.points for name in point.quality]
    return "accuracy" if "accuracy" in names else next(iter(names), "")


def metric_name(metric: str) -> str:
    """Return a metric's name for people, for instance ``last word accuracy``."""
    return metric.replace("_", " ")


def lower_is_better(metric: str) -> bool:
    """Say whether a smaller value of this metric is the better one."""
    return metric in _LOWER_IS_BETTER


def is_share(metric: str) -> bool:
    """Say whether a metric lies in [0, 1] and is shown in per cent."""
    return metric in _SHARES


def quality_text(metric: str, value: float | None) -> str:
    """Return a value with its unit.

    Example:
        >>> quality_text("accuracy", 0.9675), quality_text("perplexity", 34.481)
        ('96.75 %', '34.48')
    """
    if value is None or not math.isfinite(value):
        return "not measured"
    return f"{value * 100:.2f} %" if is_share(metric) else f"{value:.4g}"


def loss_text(metric: str, value: float, plain: float) -> str:
    """Say in words how far a value is from the plain model's.

    Example:
        >>> loss_text("accuracy", 0.955, 0.965), loss_text("perplexity", 40, 32)
        ('1.00 points lower', '25 % higher')
    """
    if math.isclose(value, plain, abs_tol=1e-9):
        return "the same"
    direction = "higher" if value > plain else "lower"
    if is_share(metric):
        return f"{abs(value - plain) * 100:.2f} points {direction}"
    return f"{abs(value / plain - 1):.0%} {direction}".replace("%", " %") if plain else direction


def seconds_text(seconds: float) -> str:
    """Return a duration in the unit that suits it.

    Example:
        >>> seconds_text(0.0123), seconds_text(2.5)
        ('12.3 ms', '2.5 s')
    """
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def speedup_text(point: Point) -> str:
    """Return a speed-up with its 95 % interval, for instance ``2.90x (2.81 to 3.02)``."""
    if point.speedup_low == point.speedup_high == point.speedup:
        return f"{point.speedup:.2f}x"
    return f"{point.speedup:.2f}x ({point.speedup_low:.2f} to {point.speedup_high:.2f})"


def settings_text(point: Point) -> str:
    """Return the dial settings of a point, for instance ``tokens 0.5``."""
    return ", ".join(f"{name} {value:g}" for name, value in point.settings.items())


def best_within_allowance(profile: Profile, metric: str) -> Point | None:
    """Return the fastest point that is nearly as good as the plain model; None where nothing was measured.

    Nearly as good: at most one percentage point lower for a share such as accuracy, at most 5 % higher for a
    perplexity or a loss.
    """
    plain = neutral_point(profile)
    if metric not in plain.quality:
        return None
    allowed = [
        point
        for point in profile.points
        if metric in point.quality and nearly_as_good(metric, point.quality[metric], plain.quality[metric])
    ]
    return max(allowed, key=lambda point: point.speedup, default=None)


def neutral_point(profile: Profile) -> Point:
    """Return the measured point of the plain model."""
    return next(point for point in profile.points if dict(point.settings) == dict(profile.neutral))


def flat_facts(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return known facts as pairs of name and text; nested tables become ``outer: inner``."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            rows += [(f"{label}: {inner}", text) for inner, text in flat_facts(value)]
        elif name.endswith("_bytes") and isinstance(value, int | float):
            rows.append((label.removesuffix(" bytes"), f"{value / 2**30:.1f} GiB"))
        elif isinstance(value, list | tuple):
            rows.append((label, ", ".join(map(str, value))))
        elif value is not None:
            rows.append((label, f"{value:,}" if type(value) is int and value >= 10_000 else str(value)))
    return rows


def nearly_as_good(metric: str, value: float, plain: float) -> bool:
    """Say whether a value is at most one point (shares) or 5 % (perplexity, loss) worse than the plain model's."""
    if lower_is_better(metric):
        return value <= plain * (1 + _GROWTH_ALLOWED)
    return value >= plain - (_POINTS_ALLOWED + 1e-9)


def allowance_text(metric: str) -> str:
    """Return in words how much worse still counts as nearly as good.

    Example:
        >>> allowance_text("accuracy"), allowance_text("perplexity")
        ('1 point', '5 %')
    """
    return "1 point" if is_share(metric) else "5 %"
