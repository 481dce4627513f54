"""Intervals that say how sure a number is: pure arithmetic."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from rheostat.core.errors import MeasurementError

__all__ = ["bootstrap_interval", "median_interval", "wilson_interval"]

_Item = TypeVar("_Item")

_QUANTILE = 1.959963984540054
"""97.5 % quantile of the normal distribution: intervals hold 95 %."""


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return a 95 % interval of the median from order statistics: no distribution is assumed.

    Below six values even the smallest and the largest hold less than 95 % (five: 93.75 %); they are returned
    then.

    Raises:
        MeasurementError: If there are no values.
    """
    if not values:
        raise MeasurementError("An interval needs at least one value.", given=0)
    ordered, count = sorted(values), len(values)
    below, tail = 0, 0.0
    # The interval from the (below + 1)th smallest to the (below + 1)th largest misses the median in both
    # tails.
    while below < count // 2:
        tail += math.comb(count, below) / 2**count
        if tail > 0.025:
            break
        below += 1
    below = max(below - 1, 0)
    return ordered[below], ordered[count - 1 - below]


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share, within [0, 1].

    Raises:
        MeasurementError: If there are no trials.
    """
    if trials < 1:
        raise MeasurementError("A share needs at least one trial.", given=trials)
    share, square = successes / trials, _QUANTILE**2
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    half = _QUANTILE * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2)) / (1 + square / trials)
    return (max(0.0, centre - half) if successes else 0.0), (min(1.0, centre + half) if successes < trials else 1.0)


def bootstrap_interval(
    items: Sequence[_Item],
    statistic: Callable[[Sequence[_Item]], float],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the 95 % percentile bootstrap interval of a statistic, resampling whole items.

    Args:
        items: Independent items, for instance texts; at least one.
        statistic: What is computed from a resample of the same size.
        draws: Resamples; at least 40.
        seed: Of the random numbers, so that the same data gives the same interval.

    Raises:
        MeasurementError: If there are no items or too few draws.
    """
    if not items or draws < 40:
        raise MeasurementError("A bootstrap needs an item and 40 draws.", given=f"{len(items)} items, {draws} draws")
    generator = random.Random(seed)
    values = sorted(statistic(generator.choices(items, k=len(items))) for _ in range(draws))
    cut = int(0.025 * draws)
    return values[cut], values[draws - 1 - cut]
