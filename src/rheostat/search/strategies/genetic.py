"""NSGA-II over predictions, which cost nothing: for spaces too large to predict whole.

Of AE-LLM: crossover exchanges whole stages, so that genes of different stages never mix within one; mutation rates by
stage; a tournament of three in which limits come first. Of NSGA-II: ranks and crowding,
https://doi.org/10.1109/4235.996017.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import numpy as np

from rheostat.core.pareto import crowding
from rheostat.core.space import Stage
from rheostat.search.strategies.codes import Codec, Codes, Floats

__all__ = ["MUTATION", "Predicts", "crossed", "evolve", "mutated", "ranks"]

MUTATION: Final[Mapping[Stage, float]] = {
    "architecture": 0.1,
    "finetuning": 0.2,
    "inference": 0.15,
    "deployment": 0.15,
}
"""Probability that a gene changes, by stage; AE-LLM has no stage of deployment."""

_CROSSOVER: Final = 0.9
_TOURNAMENT: Final = 3
_POPULATION: Final = 100
_GENERATIONS: Final = 30


class Predicts(Protocol):
    """What says how good configurations are expected to be."""

    def mean(self, codes: Codes) -> Floats:
        """Return expected objectives, ``[candidates, objectives]``."""

    def excess(self, codes: Codes) -> Floats:
        """Return by how much limits are expected to be passed, ``[candidates]``."""


def evolve(codec: Codec, predicts: Predicts, first: Codes, source: np.random.Generator) -> Codes:
    """Return everything that a run of NSGA-II came upon and that may run, ``[configurations, axes]``, distinct.

    Args:
        codec: Of the space.
        predicts: What is expected.
        first: Where it starts, beside random ones: the front so far.
        source: Of every draw.
    """
    population = np.vstack([first[:_POPULATION], _random(codec, _POPULATION - min(len(first), _POPULATION), source)])
    population = _repaired(codec, population)
    archive = [population]
    values, excess = predicts.mean(population), predicts.excess(population)
    for _ in range(_GENERATIONS):
        order = _order(values, excess)
        children = _repaired(codec, _children(codec, population, order, source))
        if not len(children):
            continue
        archive.append(children)
        population = np.vstack([population, children])
        values = np.vstack([values, predicts.mean(children)])
        excess = np.concatenate([excess, predicts.excess(children)])
        best = np.argsort(_order(values, excess), kind="stable")[:_POPULATION]
        population, values, excess = population[best], values[best], excess[best]
    return np.unique(np.vstack(archive), axis=0)


def crossed(codec: Codec, mother: Codes, father: Codes, source: np.random.Generator) -> Codes:
    """Return a child that has each stage whole from one parent, ``[axes]``."""
    stages = sorted({axis.stage for axis in codec.space.axes})
    of_mother = {stage for stage in stages if source.random() < 0.5}
    from_mother = np.array([axis.stage in of_mother for axis in codec.space.axes])
    return np.where(from_mother, mother, father)


def mutated(codec: Codec, one: Codes, source: np.random.Generator) -> Codes:
    """Return a configuration in which some genes changed, ``[axes]``: ordered ones mostly to a neighbour."""
    found = one.copy()
    for column, axis in enumerate(codec.space.axes):
        size = len(axis.values)
        if size == 1 or source.random() >= MUTATION[axis.stage]:
            continue
        if codec.ordered(column) and found[column] >= 0 and source.random() < 0.5:
            found[column] = np.clip(found[column] + source.choice((-1, 1)), 0, size - 1)
        else:
            found[column] = source.integers(size)
    return found


def ranks(values: Floats) -> Codes:
    """Return the number of the front that each point lies on, from 0, ``[points]``."""
    better = np.all(values[:, None, :] <= values[None, :, :], axis=2)
    better &= np.any(values[:, None, :] < values[None, :, :], axis=2)
    found = np.full(len(values), -1, dtype=np.int64)
    rank, left = 0, np.ones(len(values), dtype=np.bool_)
    while left.any():
        here = left & ~better[left].any(0)
        found[here] = rank
        left &= ~here
        rank += 1
    return found


def _order(values: Floats, excess: Floats) -> Codes:
    """Return the place of each in the ranking, ``[points]``: limits first, then front, then crowding."""
    rank = np.where(excess > 0, 0, ranks(values))
    distance = np.zeros(len(values))
    for front in np.unique(rank):
        members = np.flatnonzero(rank == front)
        distance[members] = crowding(values[members].tolist())
    found = np.empty(len(values), dtype=np.int64)
    found[np.lexsort((-distance, rank, excess))] = np.arange(len(values))
    return found


def _children(codec: Codec, population: Codes, order: Codes, source: np.random.Generator) -> Codes:
    found = []
    for _ in range(_POPULATION):
        mother, father = (_winner(order, source) for _ in range(2))
        child = population[mother]
        if source.random() < _CROSSOVER:
            child = crossed(codec, child, population[father], source)
        found.append(mutated(codec, child, source))
    return np.array(found)


def _winner(order: Codes, source: np.random.Generator) -> int:
    rivals = source.integers(len(order), size=_TOURNAMENT)
    return int(rivals[order[rivals].argmin()])


def _random(codec: Codec, count: int, source: np.random.Generator) -> Codes:
    return source.integers(0, codec.sizes(), size=(count, len(codec.sizes())))


def _repaired(codec: Codec, population: Codes) -> Codes:
    """Return the canonical codes of those that may run; an axis that comes to mean something is at its default."""
    configurations = [codec.decode(row) for row in population]
    return codec.encode([one for one in configurations if codec.space.conflict(one) is None])
