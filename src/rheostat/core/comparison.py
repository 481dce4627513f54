"""Better, worse or tied: what two measurements say about each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from rheostat.core.measurement import Measurement
from rheostat.core.metrics import METRICS, Metric, metric_kind
from rheostat.core.statistics import Estimate, fewest_values, paired_ratio

__all__ = ["CONFIDENCE", "MARGIN", "Verdict", "compare", "is_known", "judge"]

MARGIN: Final = 0.01
"""Ratios nearer to 1 than this are tied, however narrow the interval: nobody would choose by them."""

CONFIDENCE: Final = 0.99
"""Of the interval that a verdict on paired ratios needs to exclude 1: a grid makes dozens of verdicts."""

KNOWN: Final = 0.02
"""Half the width, as a share, of the interval of a ratio that is known well enough to find a difference of 5 %."""

Judgement = Literal["better", "worse", "tied", "unknown"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a metric says about b beside a.

    Attributes:
        metric: Its name.
        a: The reference's value.
        b: The other's.
        ratio: b's value over a's; None where it cannot be had.
        low: Lower end of the ratio's interval (`CONFIDENCE` where paired).
        high: Upper end.
        verdict: Whether b is better, worse, or tied; unknown where a value is missing.
        paired: Whether the ratio was measured round by round, in one run.
    """

    metric: str
    a: Metric
    b: Metric
    ratio: float | None
    low: float | None
    high: float | None
    verdict: Judgement
    paired: bool = False


def compare(a: Measurement, b: Measurement, *, paired: bool = True) -> list[Verdict]:
    """Compare two measurements metric by metric.

    Args:
        a: The reference.
        b: The other.
        paired: Whether ``b.samples["ratio"]`` holds b's time over a's, round by round in one run; then the ratios
            decide on the median latency. Everything else is judged by the values' own intervals.

    Returns:
        A verdict for each metric that both have and that has a better direction, in the order of tables.
    """
    found = []
    names = [*METRICS, *(name for name in a.metrics if name not in METRICS)]
    for name in names:
        if name == "speedup" or name not in a.metrics or name not in b.metrics or metric_kind(name).better == "neither":
            continue
        ratios = b.samples.get("ratio", []) if paired and name == "latency_p50" else []
        found.append(_verdict(name, (a.metrics[name], b.metrics[name]), ratios))
    return found


def is_known(ratios: Sequence[float], to: float = KNOWN) -> bool:
    """Say whether a ratio is known well enough: half the width of its `CONFIDENCE` interval is at most ``to``.

    Only the width counts, not where the ratio lies, so that stopping here does not favour a verdict.

    Args:
        ratios: One a round.
        to: As a share of the ratio, above 0.
    """
    if len(ratios) < fewest_values(CONFIDENCE):
        return False
    found = paired_ratio(ratios, CONFIDENCE)
    return found.high / found.low <= (1.0 + to) ** 2


def judge(ratio: Estimate, better: Literal["lower", "higher"], margin: float = MARGIN) -> Judgement:
    """Say what a ratio of b over a means.

    Args:
        ratio: With its interval.
        better: Which direction of the metric is better.
        margin: Ratios nearer to 1 are tied.
    """
    if ratio.low <= 1.0 <= ratio.high or abs(ratio.value - 1.0) < margin:
        return "tied"
    return "better" if (ratio.value < 1.0) == (better == "lower") else "worse"


def _verdict(name: str, values: tuple[Metric, Metric], ratios: list[float]) -> Verdict:
    a, b = values
    better = metric_kind(name).better
    paired = len(ratios) >= fewest_values(CONFIDENCE)
    estimate = paired_ratio(ratios, CONFIDENCE) if paired else _ratio(a, b)
    if estimate is None or better == "neither":
        equal = a.value is not None and a.value == b.value
        return Verdict(name, a, b, None, None, None, "tied" if equal else "unknown")
    verdict = judge(estimate, better)
    return Verdict(name, a, b, estimate.value, estimate.low, estimate.high, verdict, paired)


def _ratio(a: Metric, b: Metric) -> Estimate | None:
    """Return b over a, with the widest interval that the two intervals allow."""
    if not a.value or b.value is None:
        return None
    (a_low, a_high), (b_low, b_high) = (_ends(metric) for metric in (a, b))
    if min(a_low, a_high, b_low, b_high) <= 0.0:
        # An end at 0 (an accuracy of a few rows) bounds no ratio: overlap alone tells.
        overlap = a_low <= b_high and b_low <= a_high
        ratio = b.value / a.value
        return Estimate(ratio, min(1.0, ratio), max(1.0, ratio)) if overlap else Estimate(ratio, ratio, ratio)
    return Estimate(b.value / a.value, b_low / a_high, b_high / a_low)


def _ends(metric: Metric) -> tuple[float, float]:
    value = metric.value or 0.0
    return (value if metric.low is None else metric.low, value if metric.high is None else metric.high)
