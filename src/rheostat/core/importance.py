"""How much a choice matters: the share of the variance of a result that lies between the values of one axis."""

from __future__ import annotations

import random
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rheostat.core.errors import SettingError

__all__ = ["SHUFFLES", "Effect", "between_share", "importance", "main_effect"]

SHUFFLES: Final = 200
"""How often results are shuffled to see what chance alone explains."""

_FEW: Final = 3
_CHANCE: Final = 0.05
_NOISE: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Effect:
    """What one axis explains of one result.

    Attributes:
        share: Share of the variance between its values, in [0, 1], corrected for what as many groups of such a size
            explain by chance (epsilon squared).
        raw: The same share uncorrected (eta squared).
        chance: How often shuffled results explain as much, in (0, 1]; small where the effect is real.
        trials: How many trials it was told from.
        groups: How many values of the axis they had.
        smallest: How many trials the rarest of these values had.
    """

    share: float
    raw: float
    chance: float
    trials: int
    groups: int
    smallest: int

    @property
    def sure(self) -> bool:
        """Whether it may be relied on: every value was tried three times, and chance seldom explains as much."""
        return self.smallest >= _FEW and self.chance <= _CHANCE


def between_share(groups: Sequence[Sequence[float]]) -> float:
    """Return the share of the variance between groups: 0 where their means agree, 1 where nothing else varies.

    This is eta squared, the sum of squares between groups over the whole; 0 where all values are the same.

    Args:
        groups: Finite values; empty groups do not count.

    Example:
        >>> between_share([[1.0, 1.0], [3.0, 3.0]]), between_share([[1.0, 3.0], [1.0, 3.0]])
        (1.0, 0.0)
    """
    filled = [group for group in groups if group]
    values = [value for group in filled for value in group]
    if not values:
        return 0.0
    mean = sum(values) / len(values)
    whole = sum((value - mean) ** 2 for value in values)
    # What rounding leaves of equal values is no variance.
    if whole <= _NOISE * max(sum(value**2 for value in values), _NOISE):
        return 0.0
    between = sum(len(group) * (sum(group) / len(group) - mean) ** 2 for group in filled)
    return min(max(between / whole, 0.0), 1.0)


def main_effect(groups: Sequence[Sequence[float]], *, shuffles: int = SHUFFLES, seed: int = 0) -> Effect | None:
    """Return what belonging to a group explains of the values: a one-way analysis of variance.

    The correction is epsilon squared (Kelley 1935, https://doi.org/10.1073/pnas.21.9.554): with few trials, groups that
    mean nothing explain (groups - 1) / (trials - 1) of the variance. How likely chance is comes from shuffling
    (Phipson and Smyth 2010, https://doi.org/10.2202/1544-6115.1585), which asks for no distribution.

    A search looks where it is good and so draws no random sample: what two axes did together, both are given.

    Args:
        groups: The results by value of the axis; finite. Empty groups do not count.
        shuffles: How often to shuffle, at least 1.
        seed: Of the shuffles.

    Returns:
        None where there is nothing to tell it from: fewer than two groups, or a trial each.

    Raises:
        SettingError: If ``shuffles`` is below 1.
    """
    if shuffles < 1:
        raise SettingError("Chance is told from at least one shuffle.", given=shuffles)
    # In one order, so that the seeded shuffles do not depend on how the values were listed.
    filled = sorted(sorted(group) for group in groups if group)
    count = sum(map(len, filled))
    if len(filled) < 2 or count <= len(filled):
        return None
    raw = between_share(filled)
    corrected = 1.0 - (1.0 - raw) * (count - 1) / (count - len(filled))
    chance = _chance(filled, raw, shuffles, random.Random(seed))
    return Effect(max(corrected, 0.0), raw, chance, count, len(filled), min(map(len, filled)))


def importance(
    configurations: Sequence[Mapping[str, Any]], values: Sequence[float], axes: Sequence[str], *, seed: int = 0
) -> dict[str, Effect | None]:
    """Return what each axis explains of a result, over the trials that have the axis.

    Args:
        configurations: Axis to value, one a trial; an axis that means nothing in a trial is left out there.
        values: The result of each trial, finite; costs as logarithms, so that factors add up.
        axes: The axes to tell about.
        seed: Of the shuffles.

    Returns:
        An effect for each axis; None where there is nothing to tell it from.

    Example:
        >>> found = importance([{"a": 1}, {"a": 1}, {"a": 2}, {"a": 2}], [1.0, 1.0, 5.0, 5.0], ["a"])
        >>> found["a"].share
        1.0
    """
    return {axis: main_effect(_groups(configurations, values, axis), seed=seed) for axis in axes}


def _groups(configurations: Sequence[Mapping[str, Any]], values: Sequence[float], axis: str) -> list[list[float]]:
    found: dict[Hashable, list[float]] = {}
    for configuration, value in zip(configurations, values, strict=True):
        if axis in configuration:
            found.setdefault(configuration[axis], []).append(value)
    return list(found.values())


def _chance(groups: Sequence[Sequence[float]], raw: float, shuffles: int, source: random.Random) -> float:
    sizes, pool = [len(group) for group in groups], [value for group in groups for value in group]
    reached = 0
    for _ in range(shuffles):
        source.shuffle(pool)
        rest = iter(pool)
        dealt = [[next(rest) for _ in range(size)] for size in sizes]
        reached += between_share(dealt) >= raw - _NOISE
    return (reached + 1) / (shuffles + 1)
