"""Random search: the yardstick, and hard to beat where little is known."""

from __future__ import annotations

from collections.abc import Sequence

from rheostat.core.knob import Value
from rheostat.core.space import Space
from rheostat.search.strategies.memory import Memory
from rheostat.search.strategies.strategy import Hints, Outcome

__all__ = ["RandomStrategy"]


class RandomStrategy:
    """Asks for configurations at random, each at most once; guesses come first.

    Args:
        space: What it may propose.
        objectives: How many there are; it does not matter here.
        seed: Of the draws.
        hints: Only the guesses are used.
    """

    def __init__(self, space: Space, objectives: int, *, seed: int, hints: Hints) -> None:
        del objectives
        self._memory = Memory(space, hints.guesses, seed=seed)

    def ask(self, count: int) -> list[dict[str, Value]]:
        """Return what to measure next; see `Strategy.ask`."""
        found = ((self._memory.guess() or self._memory.draw()) for _ in range(count))
        return [one for one in found if one is not None]

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Note what need not be asked any more."""
        self._memory.tell(outcomes)
