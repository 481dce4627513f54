"""The default search: models of every objective, and the measurements that they expect most of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rheostat.core.extras import require
from rheostat.core.knob import Value
from rheostat.core.pareto import front
from rheostat.core.space import Space
from rheostat.search.strategies.codes import Codec, Codes, Floats
from rheostat.search.strategies.gain import Batch, open_probes
from rheostat.search.strategies.genetic import evolve
from rheostat.search.strategies.memory import Memory
from rheostat.search.strategies.start import farthest, starts
from rheostat.search.strategies.strategy import Hints, Outcome
from rheostat.search.strategies.view import Costs, View, look

__all__ = ["Settings", "SurrogateStrategy"]

_CANDIDATES: Final = 240
_DRAWS: Final = 16
_HOPE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Settings:
    """How the search goes about it.

    Attributes:
        start: Measurements before the first models are fitted, guesses included.
        spread: How much of the models' uncertainty of the objectives draws show, in [0, 1]; at 0 means choose, as if
            they were sure of the limits, too. The whole of it makes a search look into too many unlikely corners:
            after 30 measurements of `benchmarks.search_spaces.stand_in` a quarter is ahead by 0.003 of the hypervolume.
        boosted: Whether trees correct the trend.
    """

    start: int = 6
    spread: float = 0.25
    boosted: bool = True


class SurrogateStrategy:
    """Models each objective, and asks for what is expected to add most to the front.

    The outer loop of AE-LLM (measure, fit, search the predictions with NSGA-II, measure again). What is our own: a
    smooth trend under the boosted trees; configurations that agree in all that an objective depends on share what was
    measured; the expected gain of hypervolume over draws of the models chooses, each draw for a whole batch; spaces of
    up to 20,000 configurations are predicted whole.

    It starts with the guesses, the plain configuration, the opposite one and a few far from all others.

    Args:
        space: What it may propose.
        objectives: How many there are, from 1.
        seed: Of every draw.
        hints: All of them are used.
        settings: How it goes about it.

    Raises:
        RheostatError: If scikit-learn is not installed.
    """

    def __init__(
        self, space: Space, objectives: int, *, seed: int, hints: Hints, settings: Settings | None = None
    ) -> None:
        self._memory = Memory(space, hints.guesses, seed=seed)
        self._codec = Codec(space)
        self._costs = Costs(self._codec, hints)
        self._objectives, self._seed, self._hints = objectives, seed, hints
        self._settings = settings or Settings()
        if self._settings.boosted:
            # Better now than after the first measurements.
            require("sklearn", extra="search")
        self._source = np.random.default_rng(seed)
        self._starts = list(starts(space))
        self._pending: dict[str, dict[str, Value]] = {}
        self._listed = None if self._memory.all is None else self._codec.encode(self._memory.all)
        self._view: View | None = None

    def ask(self, count: int) -> list[dict[str, Value]]:
        """Return what to measure next; see `Strategy.ask`."""
        found: list[dict[str, Value]] = []
        while len(found) < count and (one := self._opening()) is not None:
            found.append(self._asked(one))
        if len(found) < count:
            found += [self._asked(one) for one in self._expected(count - len(found))]
        while len(found) < count and (one := self._memory.draw()) is not None:
            found.append(self._asked(one))
        return found

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Learn from outcomes; the models are fitted when they are next needed."""
        self._memory.tell(outcomes)
        for outcome in outcomes:
            self._pending.pop(self._memory.space.key(outcome.configuration), None)
        self._view = None if outcomes else self._view

    def _asked(self, configuration: dict[str, Value]) -> dict[str, Value]:
        self._pending[self._memory.space.key(configuration)] = configuration
        return self._memory.ask(configuration)

    def _opening(self) -> dict[str, Value] | None:
        """Return the next configuration of the start; None where it is over."""
        if (guess := self._memory.guess()) is not None:
            return guess
        known = [one.configuration for one in self._memory.outcomes if one.values is not None and one.fidelity >= 1.0]
        seen = known + list(self._pending.values())
        if len(seen) >= self._settings.start:
            return None
        while self._starts:
            one = self._starts.pop(0)
            if self._memory.fresh(one):
                return one
        place = farthest(self._codec, self._memory, seen, self._source) if seen else None
        return self._memory.draw() if place is None or self._memory.all is None else self._memory.all[place]

    def _expected(self, count: int) -> list[dict[str, Value]]:
        """Return the batch that the models expect most of; nothing where there are no models yet."""
        if self._view is None:
            self._view = look(self._costs, self._memory.outcomes, self._objectives, self._seed, self._settings.boosted)
        codes = self._candidates(self._view) if self._view is not None else None
        if self._view is None or codes is None or not len(codes):
            return []
        return self._batch(self._view, codes, count)

    def _candidates(self, view: View) -> Codes:
        """Return fresh codes near the predicted front."""
        if self._listed is not None:
            codes = self._listed[np.frombuffer(self._memory.open, dtype=np.uint8) > 0]
        else:
            evolved = evolve(self._codec, view, self._best(), self._source)
            rows = [row for row in evolved if self._memory.fresh(self._codec.decode(row))]
            codes = np.array(rows, dtype=np.int64).reshape(len(rows), evolved.shape[1])
        return codes[view.promising(codes, _CANDIDATES, _HOPE, self._source)] if len(codes) > _CANDIDATES else codes

    def _best(self) -> Codes:
        """Return what is measured and lies on the front, ``[configurations, axes]``."""
        good = [one for one in self._memory.outcomes if one.values is not None and one.excess == 0.0]
        chosen = front([one.values or () for one in good])
        return self._codec.encode([good[at].configuration for at in chosen])

    def _batch(self, view: View, codes: Codes, count: int) -> list[dict[str, Value]]:
        pending = self._codec.encode(list(self._pending.values()))
        futures = view.futures(np.vstack([codes, pending]), _DRAWS, self._settings.spread, self._source)
        probes = open_probes(view.front, futures.values.min(0), view.reference, self._source)
        batch = Batch(futures, probes)
        for place in range(len(codes), len(codes) + len(pending)):
            batch.take(place)
        allowed = np.zeros(len(codes) + len(pending), dtype=np.bool_)
        allowed[: len(codes)] = True
        prices = self._prices(codes, len(pending))
        chosen: list[int] = []
        while len(chosen) < count and allowed.any():
            chosen.append(batch.best(allowed, prices))
            allowed[chosen[-1]] = False
            batch.take(chosen[-1])
        return [self._codec.decode(codes[place]) for place in chosen]

    def _prices(self, codes: Codes, others: int) -> Floats:
        """Return what each would cost, as the root of its seconds: a training serves settings to come as well."""
        if self._hints.price is None:
            return np.ones(len(codes) + others)
        seconds = [self._hints.price(self._codec.decode(row)) for row in codes]
        found: Floats = np.sqrt(np.maximum(np.array([*seconds, *([1.0] * others)]), 1e-3))
        return found
