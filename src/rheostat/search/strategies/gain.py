"""Which points to measure next: those that are expected to add most hypervolume to the front, for their price."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rheostat.core.pareto import front as front_of
from rheostat.search.strategies.codes import Floats

__all__ = ["Batch", "Flags", "Futures", "covered", "open_probes"]

Flags = NDArray[np.bool_]

_PROBES: Final = 4096
_THROWS: Final = 32768


@dataclass(frozen=True)
class Futures:
    """What may be true of candidates, several times over.

    Attributes:
        values: ``[draws, candidates, objectives]``, lower is better.
        kept: ``[draws, candidates]``: whether every limit is kept.
        excess: ``[candidates]``: by how much limits are expected to be passed.
    """

    values: Floats
    kept: Flags
    excess: Floats


class Batch:
    """Chooses candidates one by one, each for what it is expected to add to those before it.

    Args:
        futures: What may be true of the candidates.
        probes: ``[probes, objectives]``: where hypervolume could be gained.
    """

    def __init__(self, futures: Futures, probes: Floats) -> None:
        values = futures.values
        self._kept, self._excess = futures.kept, futures.excess
        self._reached = np.ones((*values.shape[:2], len(probes)), dtype=np.bool_)
        for objective in range(values.shape[2]):
            self._reached &= values[:, :, objective, None] <= probes[None, None, :, objective]
        self._reached &= futures.kept[:, :, None]
        self._open = np.ones((values.shape[0], len(probes)), dtype=np.bool_)
        self._sums = values.mean(0).sum(1)

    def gains(self) -> Floats:
        """Return what each candidate is expected to add now, in probes, ``[candidates]``."""
        found: Floats = (self._reached & self._open[:, None, :]).sum(2).mean(0)
        return found

    def take(self, candidate: int) -> None:
        """Count a candidate as measured: in each draw it reaches what it would."""
        self._open &= ~self._reached[:, candidate]

    def best(self, allowed: Flags, prices: Floats) -> int:
        """Return the allowed candidate with most to gain for its price.

        Where nobody is expected to gain anything: who passes limits least, then who is best on the whole.

        Args:
            allowed: ``[candidates]``, some of them True.
            prices: ``[candidates]``, positive.
        """
        gains = np.where(allowed, self.gains() / prices, -1.0)
        if gains.max() > 0:
            return int(gains.argmax())
        order = np.lexsort((self._sums, self._excess, ~allowed))
        return int(order[0])


def covered(points: Floats, probes: Floats) -> Flags:
    """Return which probes some point dominates, ``[probes]``."""
    found = np.zeros(len(probes), dtype=np.bool_)
    left = np.arange(len(probes))
    # Whoever covers most goes first: few are left for the others to look at.
    for point in points[np.argsort(points.sum(1), kind="stable")]:
        hit = np.ones(len(left), dtype=np.bool_)
        for objective, value in enumerate(point):
            hit &= value <= probes[left, objective]
        found[left[hit]] = True
        left = left[~hit]
    return found


def open_probes(front: Floats, hopes: Floats, reference: Floats, source: np.random.Generator) -> Floats:
    """Return points, evenly spread, where hypervolume could still be gained.

    Args:
        front: ``[points, objectives]``: what is reached.
        hopes: ``[candidates, objectives]``: the best that each candidate may be.
        reference: ``[objectives]``: the worst values.
        source: Of the points.

    Returns:
        ``[probes, objectives]``: not dominated by the front, dominated by some hope; none where all is reached.
    """
    low = hopes.min(0)
    hopes = hopes[front_of(hopes.tolist())]
    probes = low + source.random((_THROWS, len(reference))) * (reference - low)
    probes = probes[~covered(front, probes)]
    found: Floats = probes[covered(hopes, probes)][:_PROBES]
    return found
