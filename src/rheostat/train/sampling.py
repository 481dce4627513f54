"""Samples that keep the shares of the classes, and are the same for the same seed."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

__all__ = ["hold_out", "stratified_sample"]


def stratified_sample(strata: Sequence[int], size: int, seed: int) -> list[int]:
    """Choose rows so that every stratum keeps its share.

    The shares are rounded by largest remainder, so each is off by less than one row, but for one thing: a
    stratum whose share rounds to nothing gets one row, taken from the largest, as long as ``size`` allows one
    for each.

    Args:
        strata: The stratum of each row, such as its label id.
        size: How many rows to choose, in [0, len(strata)].
        seed: Same seed, same rows.

    Returns:
        The chosen row numbers, ascending.

    Example:
        >>> [[0, 0, 0, 0, 1, 1][row] for row in stratified_sample([0, 0, 0, 0, 1, 1], size=3, seed=0)]
        [0, 0, 1]
    """
    rows_of: dict[int, list[int]] = defaultdict(list)
    for row, stratum in enumerate(strata):
        rows_of[stratum].append(row)
    quotas = _quotas({stratum: len(rows) for stratum, rows in sorted(rows_of.items())}, size)
    generator = random.Random(seed)
    return sorted(row for stratum, quota in quotas.items() for row in generator.sample(rows_of[stratum], quota))


def hold_out(strata: Sequence[int], size: int, seed: int) -> tuple[list[int], list[int]]:
    """Split rows in two so that both parts keep the shares, and no stratum is missing from the first.

    Args:
        strata: The stratum of each row.
        size: How many rows the second part gets, in [0, len(strata)].
        seed: Same seed, same parts.

    Returns:
        The row numbers that stay and those held out, both ascending.
    """
    stay = stratified_sample(strata, len(strata) - size, seed)
    chosen = set(stay)
    return stay, [row for row in range(len(strata)) if row not in chosen]


def _quotas(counts: dict[int, int], size: int) -> dict[int, int]:
    """Round ``size`` times each share to whole rows that add up to ``size``, exactly, in integers."""
    total = sum(counts.values())
    quotas = {stratum: size * count // total for stratum, count in counts.items()}
    by_remainder = sorted(counts, key=lambda stratum: -(size * counts[stratum] % total))
    for stratum in by_remainder[: size - sum(quotas.values())]:
        quotas[stratum] += 1
    if size >= len(counts):
        for stratum in [stratum for stratum, quota in quotas.items() if quota == 0]:
            quotas[max(quotas, key=lambda other: quotas[other])] -= 1
            quotas[stratum] = 1
    return quotas
