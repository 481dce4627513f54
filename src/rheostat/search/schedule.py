"""What is measured next, and whether there is time for it: pure decisions on plain numbers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from rheostat.core.pareto import front, surely_dominates

__all__ = ["Candidate", "Forecast", "could_reach", "doubts", "promotions", "start_fidelity"]

WORTH_SPLITTING: Final = 0.6
"""A first look has to cost less than this share of the whole."""

_REMEMBERED = 15
_NEAR_THE_TOP = 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configuration as the schedule sees it. Objectives are turned so that lower is better.

    Attributes:
        key: Its name.
        fidelity: The highest at which it worked; 0 where it never did.
        repeats: How often it was measured there.
        failed: Whether the latest attempt did not work.
        best: Objectives it may reach at most; None where one is missing.
        intervals: The ends of each objective's interval; None where one is missing.
        excess: By how much it passes the limits.
        least_excess: The same where everything comes out as well as it may.
        preference: What the recommendation goes by, higher is better: the value, and the ends of its interval; None
            where it is unknown.
        doubtful: Whether noise decides on a limit.
        confirmed: Whether the verdict on it was confirmed already.
    """

    key: str
    fidelity: float
    repeats: int = 1
    failed: bool = False
    best: tuple[float, ...] | None = None
    intervals: tuple[tuple[float, float], ...] | None = None
    excess: float = 0.0
    least_excess: float = 0.0
    preference: tuple[float, float, float] | None = None
    doubtful: bool = False
    confirmed: bool = False

    @property
    def full(self) -> bool:
        """Whether it was measured in full, and worked."""
        return self.fidelity >= 1.0 and not self.failed


class Forecast:
    """Corrects estimates by how the latest ones turned out.

    Example:
        >>> forecast = Forecast()
        >>> forecast.saw(estimated=10.0, took=20.0)
        >>> forecast.seconds(5.0)
        10.0
    """

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=_REMEMBERED)

    def saw(self, *, estimated: float, took: float) -> None:
        """Note how long something took."""
        if estimated > 0 and took > 0:
            self._ratios.append(took / estimated)

    def seconds(self, estimated: float) -> float:
        """Return an estimate, corrected."""
        return estimated * (median(self._ratios) if self._ratios else 1.0)

    def fitting(self, prices: Sequence[float], left: float) -> list[int]:
        """Return which of several things, taken in their order, fit into the seconds that are left.

        What does not fit is passed over: something cheaper behind it may.

        Example:
            >>> Forecast().fitting([5.0, 30.0, 4.0], 10.0)
            [0, 2]
        """
        found = []
        for index, price in enumerate(prices):
            seconds = self.seconds(price)
            if seconds <= left:
                found.append(index)
                left -= seconds
        return found


def start_fidelity(low: float, prices: Mapping[float, float]) -> float:
    """Return the fidelity at which a configuration is looked at first.

    Args:
        low: The low fidelity; 1 for none.
        prices: Seconds that it takes at ``low`` and at 1.

    Returns:
        ``low`` where that saves enough, else 1: of a model that is trained, a first look costs nearly as much as a full
        one.

    Example:
        >>> start_fidelity(0.25, {0.25: 30.0, 1.0: 100.0}), start_fidelity(0.25, {0.25: 8.0, 1.0: 10.0})
        (0.25, 1.0)
    """
    return low if low < 1.0 and prices[low] < WORTH_SPLITTING * prices[1.0] else 1.0


def could_reach(candidate: Candidate, full: Iterable[Candidate]) -> bool:
    """Whether a candidate could still be on the front of what keeps the limits.

    Args:
        candidate: Measured at a low fidelity.
        full: What was measured in full.

    Returns:
        False where it failed; where even at its best it breaks a limit while something keeps them, or breaks them by
        more than everything else does; or where something that keeps them surely beats it at its best.
    """
    if candidate.failed or candidate.best is None:
        return False
    known = [one for one in full if one.full]
    kept = [one for one in known if one.excess == 0.0]
    if candidate.least_excess > 0:
        return not kept and candidate.least_excess < min((one.excess for one in known), default=float("inf"))
    hoped = [(value, value) for value in candidate.best]
    return not any(surely_dominates(one.intervals, hoped) for one in kept if one.intervals is not None)


def promotions(candidates: Sequence[Candidate]) -> list[str]:
    """Return what deserves a full measurement after its first look, the most promising first.

    Those that break the limits least come first, then by front after front of what they may reach, then by preference.
    """
    full = [one for one in candidates if one.full]
    waiting = [one for one in candidates if 0 < one.fidelity < 1.0 and could_reach(one, full)]
    ranks = _fronts([one.best or () for one in waiting])
    order = sorted(
        range(len(waiting)),
        key=lambda at: (waiting[at].least_excess, ranks[at], -(waiting[at].preference or (0.0, 0.0, 0.0))[2]),
    )
    return [waiting[at].key for at in order]


def doubts(candidates: Iterable[Candidate], most: int) -> list[str]:
    """Return what is worth measuring again, since the recommendation hangs on it.

    Only what could be recommended matters: the leader, if noise decides whether it keeps a limit; whatever noise may
    have kept from being feasible and would lead; and what keeps the limits and whose preference overlaps the leader's.

    Args:
        candidates: What is known.
        most: Measurements of one configuration at most.
    """
    full = [one for one in candidates if one.full and one.preference is not None and not one.confirmed]
    ranked = sorted(full, key=lambda one: -(one.preference or (0.0, 0.0, 0.0))[0])
    leader = next((one for one in ranked if one.excess == 0.0), None)
    floor = (leader.preference or (0.0, 0.0, 0.0))[1] if leader is not None else 0.0
    found = []
    for one in ranked:
        reaches = (one.preference or (0.0, 0.0, 0.0))[2] >= floor
        if not reaches or one.least_excess > 0 or (one.excess > 0 and not one.doubtful):
            continue
        if one is leader and not one.doubtful:
            # Nothing hangs on the leader alone: only what comes near it makes it doubtful.
            continue
        found.append(one)
    near = found[:_NEAR_THE_TOP]
    return [one.key for one in near if one.repeats < most]


def _fronts(points: Sequence[Sequence[float]]) -> list[int]:
    """Return for each point on which front it lies: 0 for those that nothing beats, 1 for the next ..."""
    ranks = [0] * len(points)
    left, rank = list(range(len(points))), 0
    while left:
        best = {left[at] for at in front([points[index] for index in left])}
        for index in best:
            ranks[index] = rank
        left, rank = [index for index in left if index not in best], rank + 1
    return ranks
