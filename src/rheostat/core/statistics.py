"""How sure a ratio of paired timings is: exact, distribution-free arithmetic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import stdev

from rheostat.core.errors import MeasurementError

__all__ = ["Estimate", "fewest_values", "half_width", "paired_ratio", "signed_rank_interval"]

# 97.5 % quantiles of Student's t, by degrees of freedom from 1.
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its interval, all in one unit.

    Attributes:
        value: The estimate.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def signed_rank_interval(values: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the Hodges-Lehmann estimate of the centre of symmetric values, with its exact interval.

    The estimate is the median of all pairwise means (Hodges and Lehmann 1963,
    https://doi.org/10.1214/aoms/1177704172), the interval inverts Wilcoxon's signed-rank test. Log ratios of two
    equal ways to do something, measured in turn with the order swapped, are symmetric about 0, whatever the noise is:
    so an interval of 95 % holds 0 at least 95 times in 100. It is narrower than the interval of a median, and one wild
    value does not move it.

    Args:
        values: Independent values; below `fewest_values` the interval is their whole range and holds less.
        confidence: How often the interval shall hold the centre, in (0, 1).

    Raises:
        MeasurementError: If there are none.
    """
    if not values:
        raise MeasurementError("An interval needs at least one value.", given=0)
    ordered = sorted(values)
    means = sorted((one + other) / 2 for at, one in enumerate(ordered) for other in ordered[at:])
    skipped = _tail_count(len(values), confidence)
    middle = len(means) // 2
    centre = means[middle] if len(means) % 2 else (means[middle - 1] + means[middle]) / 2
    return Estimate(centre, means[skipped], means[-1 - skipped])


def paired_ratio(ratios: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the centre of positive ratios, one a round, by `signed_rank_interval` of their logarithms.

    Raises:
        MeasurementError: If there are none, or one is not above 0.

    Example:
        >>> round(paired_ratio([2.0, 2.0, 2.1, 1.9, 2.0, 2.0]).value, 2)
        2.0
    """
    if any(not 0.0 < ratio < math.inf for ratio in ratios):
        raise MeasurementError("A ratio of two times is above 0.", given=list(ratios))
    found = signed_rank_interval([math.log(ratio) for ratio in ratios], confidence)
    return Estimate(math.exp(found.value), math.exp(found.low), math.exp(found.high))


def fewest_values(confidence: float) -> int:
    """Return how many values it takes until their whole range holds the centre so often.

    Example:
        >>> fewest_values(0.95), fewest_values(0.99)
        (6, 8)
    """
    return math.ceil(1.0 - math.log2(1.0 - confidence) - 1e-9)


def half_width(values: Sequence[float]) -> float:
    """Return half the width of Student's 95 % interval of the mean of 2 to 10 independent values.

    Raises:
        MeasurementError: If there are fewer or more.

    Example:
        >>> round(half_width([1.0, 2.0, 3.0]), 3)
        2.484
    """
    if not 2 <= len(values) <= len(_STUDENT) + 1:
        raise MeasurementError(f"Spread is told from 2 to {len(_STUDENT) + 1} values.", given=len(values))
    return _STUDENT[len(values) - 2] * stdev(values) / math.sqrt(len(values))


@cache
def _tail_count(count: int, confidence: float) -> int:
    """Return how many pairwise means lie below the interval: the rank sum's lower tail, exactly."""
    ways = [1]
    for rank in range(1, count + 1):
        longer = ways + [0] * rank
        for total, number in enumerate(ways):
            longer[total + rank] += number
        ways = longer
    tail, limit = 0, (1.0 - confidence) / 2 * 2**count
    for total, number in enumerate(ways):
        tail += number
        if tail > limit:
            return max(total - 1, 0)
    return 0
