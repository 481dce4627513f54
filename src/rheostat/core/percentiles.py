"""Percentiles with intervals: pure arithmetic."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

from rheostat.core.errors import MeasurementError
from rheostat.core.statistics import Estimate

__all__ = ["PERCENTILES", "Estimate", "latency_percentiles", "percentile", "percentile_estimate"]

PERCENTILES: Final = (50, 90, 95, 99)
"""The percentiles of latency that are reported."""


def percentile(values: Sequence[float], rank: float) -> float:
    """Return a percentile, interpolated in a straight line between the two values around it.

    Args:
        values: At least one.
        rank: From 0 to 100.

    Raises:
        MeasurementError: If there are no values, or the rank is outside its range.

    Example:
        >>> percentile([4.0, 1.0, 2.0, 3.0], 50)
        2.5
    """
    if not values or not 0 <= rank <= 100:
        raise MeasurementError(
            "A percentile needs values and a rank from 0 to 100.", given=f"{len(values)} values, rank {rank}"
        )
    ordered = sorted(values)
    below, share = _position(len(ordered), rank)
    return _mix(ordered[below], ordered[min(below + 1, len(ordered) - 1)], share)


def percentile_estimate(values: Sequence[float], rank: float, *, draws: int = 2000, seed: int = 0) -> Estimate:
    """Return a percentile with its 95 % percentile-bootstrap interval.

    No interval reaches beyond the largest value seen. With n values a share 0.99^n of all samples has none
    above the true p99: 37 % at n = 100, so there the upper end is a floor, not a bound.

    Args:
        values: Independent values; at least one.
        rank: From 0 to 100.
        draws: Resamples; at least 40.
        seed: Of the random numbers, so that the same values give the same interval.

    Raises:
        MeasurementError: If there are no values, too few draws, or the rank is outside its range.
    """
    if draws < 40:
        raise MeasurementError("A bootstrap needs 40 draws.", given=draws)
    value = percentile(values, rank)
    resampled = sorted(_resampled(sorted(values), rank, draws, random.Random(seed)))
    cut = int(0.025 * draws)
    return Estimate(value, min(value, resampled[cut]), max(value, resampled[draws - 1 - cut]))


def latency_percentiles(seconds: Sequence[float], *, draws: int = 2000, seed: int = 0) -> dict[int, Estimate]:
    """Return p50, p90, p95 and p99 of latency with 95 % intervals, see `percentile_estimate`.

    Args:
        seconds: Time of each request; at least one.
        draws: Resamples; at least 40.
        seed: Of the random numbers.

    Raises:
        MeasurementError: If there are no requests or too few draws.

    Example:
        >>> latency_percentiles([1.0, 2.0, 3.0])[50].value
        2.0
    """
    return {rank: percentile_estimate(seconds, rank, draws=draws, seed=seed + rank) for rank in PERCENTILES}


def _position(count: int, rank: float) -> tuple[int, float]:
    place = rank / 100 * (count - 1)
    below = min(int(place), count - 1)
    return below, place - below


def _mix(low: float, high: float, share: float) -> float:
    # Exactly `low` where both are alike, which the weighted sum is not.
    return low + (high - low) * share


def _resampled(ordered: Sequence[float], rank: float, draws: int, generator: random.Random) -> Iterator[float]:
    """Yield the percentile of resamples without making them, at a cost that does not grow with the values.

    The k-th smallest of n uniform numbers is beta-distributed with k and n - k + 1, and the next one above it
    is the least of the n - k left, uniform between it and 1. A uniform number u picks the value at
    floor(n u): the two order statistics around the percentile are those of a true resample.
    """
    count = len(ordered)
    below, share = _position(count, rank)
    for _ in range(draws):
        first = generator.betavariate(below + 1, count - below)
        left = count - below - 1
        second = 1 - (1 - first) * generator.random() ** (1 / left) if left else first
        low, high = (ordered[min(int(count * uniform), count - 1)] for uniform in (first, second))
        yield _mix(low, high, share)
