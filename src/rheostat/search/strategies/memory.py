"""What a strategy remembers: what it was told, and what is still to be had."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from rheostat.core.knob import Value
from rheostat.core.space import Axis, Space
from rheostat.search.strategies.strategy import Configuration, Outcome

__all__ = ["ENUMERATED", "Memory"]

ENUMERATED: Final = 20_000
"""Spaces of at most so many configurations are listed; larger ones are drawn from."""

_DRAWS = 200


class Memory:
    """Remembers what was asked and told, and draws what was neither.

    Args:
        space: What may be proposed.
        guesses: What to propose first; those that a conflict excludes are passed over.
        seed: Of the draws.

    Attributes:
        outcomes: Everything told, in order, with canonical configurations.
        all: Every configuration that may run; None where there are too many to list.
        open: For each of ``all`` 1 where it is fresh, else 0.

    Raises:
        SettingError: If a guess is no configuration of the space.
    """

    def __init__(self, space: Space, guesses: Iterable[Configuration] = (), *, seed: int = 0) -> None:
        self.space = space
        self.outcomes: list[Outcome] = []
        self._seen: set[str] = set()
        self._random = random.Random(seed)
        self._guesses = [space.canonical(guess) for guess in guesses]
        # One more tells that there are too many.
        listed = list(itertools.islice(space.configurations(), ENUMERATED + 1))
        self.all: list[dict[str, Value]] | None = listed if len(listed) <= ENUMERATED else None
        self._places = {space.key(one): at for at, one in enumerate(self.all or ())}
        self.open = bytearray(b"\x01" * len(self._places))
        self._order = self._shuffled()

    @property
    def exhausted(self) -> bool:
        """Whether nothing fresh is left, as far as a look at the list tells."""
        return self.all is not None and 1 not in self.open

    def fresh(self, configuration: Configuration) -> bool:
        """Whether a canonical configuration may run and was neither asked nor told."""
        return self.space.key(configuration) not in self._seen and self.space.conflict(configuration) is None

    def ask(self, configuration: Configuration) -> dict[str, Value]:
        """Note that a configuration is asked, and return it."""
        self._see(configuration)
        return dict(configuration)

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Note outcomes. What was measured in part only may still be asked, unless it was asked before.

        Raises:
            SettingError: If a configuration is none of the space.
        """
        for outcome in outcomes:
            configuration = self.space.canonical(outcome.configuration)
            if outcome.fidelity >= 1.0 or outcome.values is None:
                self._see(configuration)
            self.outcomes.append(
                Outcome(
                    configuration, outcome.values, outcome.excess, outcome.fidelity, outcome.intervals, outcome.margins
                )
            )

    def guess(self) -> dict[str, Value] | None:
        """Return the next guess that is fresh; None where there is none left."""
        while self._guesses:
            guess = self._guesses.pop(0)
            if self.fresh(guess):
                return self.ask(guess)
        return None

    def draw(self) -> dict[str, Value] | None:
        """Return a fresh configuration, all equally likely where the space is listed; None where it is exhausted."""
        found = next(self._order, None)
        return None if found is None else self.ask(found)

    def draw_any(self) -> dict[str, Value]:
        """Return a configuration, axis by axis; seen or not, in conflict or not."""
        return drawn(self.space.axes, self._random)

    def _see(self, configuration: Configuration) -> None:
        key = self.space.key(configuration)
        self._seen.add(key)
        if key in self._places:
            self.open[self._places[key]] = 0

    def _shuffled(self) -> Iterator[dict[str, Value]]:
        if self.all is not None:
            listed = list(self.all)
            self._random.shuffle(listed)
            yield from (one for one in listed if self.fresh(one))
            return
        while True:
            draws = (self.space.canonical(self.draw_any()) for _ in range(_DRAWS))
            found = next((one for one in draws if self.fresh(one)), None)
            if found is None:
                # Nearly everything is seen or in conflict: look at each.
                found = next((one for one in self.space.configurations() if self.fresh(one)), None)
            if found is None:
                return
            yield found


def drawn(axes: Sequence[Axis], source: random.Random) -> dict[str, Value]:
    """Return one value for each axis."""
    return {axis.name: source.choice(axis.values) for axis in axes}
