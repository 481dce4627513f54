"""What a search strategy is: it is asked what to measure next, and told what came of it."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, cast, runtime_checkable

from rheostat.core.errors import SettingError
from rheostat.core.knob import Value
from rheostat.core.names import suggest
from rheostat.core.space import Space

__all__ = ["DEFAULT", "STRATEGIES", "Configuration", "Hints", "Outcome", "Strategy", "make_strategy"]

Configuration = Mapping[str, Value]

STRATEGIES: Final[Mapping[str, str]] = {
    "surrogate": "rheostat.search.strategies.surrogate:SurrogateStrategy",
    "tpe": "rheostat.search.strategies.tpe:TPEStrategy",
    "nsga2": "rheostat.search.strategies.nsga2:NSGA2Strategy",
    "random": "rheostat.search.strategies.random:RandomStrategy",
}
"""Every strategy by name, and the class that is it; imported when it is wanted."""

DEFAULT: Final = "surrogate"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a configuration: plain numbers.

    Attributes:
        configuration: What was measured.
        values: The objectives, lower is better; None where it failed.
        excess: By how much all limits together are passed, 0 where each is kept; infinity where it failed.
        fidelity: How much of the training and of the data went into it, in (0, 1]; only 1 is a verdict.
        intervals: The two ends of each objective's 95 % interval; None where nothing is known of them.
        margins: By how much each limit is passed, negative where it is kept with room (`Goals.margins`); None where
            that is not known. They say more than ``excess``, which is 0 for all that is well.
    """

    configuration: Configuration
    values: tuple[float, ...] | None
    excess: float = 0.0
    fidelity: float = 1.0
    intervals: tuple[tuple[float, float], ...] | None = None
    margins: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Hints:
    """What is known before anything runs; each may be left out.

    Attributes:
        guesses: What to measure first: from a table of rules, or the front of an earlier study.
        predict: A cost model: index of the objective to its predicted value, right up to a factor; objectives that it
            knows nothing of are left out.
        depends: Index of the objective to the axes that it can depend on; all where it is left out. Quality, say, does
            not depend on batch and threads. The limits' margins count on after the objectives.
        price: Seconds that measuring a configuration would take now: few for a dial of a model that is trained, many
            where one has to be trained first.
    """

    guesses: Sequence[Configuration] = ()
    predict: Callable[[Configuration], Mapping[int, float]] | None = None
    depends: Mapping[int, Collection[str]] = field(default_factory=dict)
    price: Callable[[Configuration], float] | None = None


@runtime_checkable
class Strategy(Protocol):
    """Proposes what to measure next. The same seed and the same tells give the same asks."""

    def ask(self, count: int) -> list[dict[str, Value]]:
        """Return what to measure next.

        Args:
            count: How many, from 1.

        Returns:
            Canonical configurations that may run, distinct, never told and never asked before; fewer where the space
            is nearly exhausted, none where it is.
        """

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """Learn what came of configurations, also of those it was not asked for.

        Args:
            outcomes: One for each measurement.

        Raises:
            SettingError: If a configuration is none of the space.
        """


def make_strategy(name: str, space: Space, objectives: int, *, seed: int = 0, hints: Hints | None = None) -> Strategy:
    """Return a strategy by name.

    Args:
        name: One of `STRATEGIES`.
        space: What it may propose.
        objectives: How many there are, from 1.
        seed: Of everything that it draws.
        hints: What is known before anything runs.

    Raises:
        SettingError: If nobody knows the name; with the nearest known one. Or if there is no objective.
        RheostatError: If it needs a package that is not installed.

    Example:
        >>> from rheostat.core.space import Axis
        >>> space = Space((Axis("tokens", "inference", (0.5, 1.0), 1.0),))
        >>> sorted(one["tokens"] for one in make_strategy("random", space, 2).ask(5))
        [0.5, 1.0]
    """
    if name not in STRATEGIES:
        raise SettingError("A search strategy has a known name.", given=repr(name), mend=suggest(name, STRATEGIES))
    if objectives < 1:
        raise SettingError("A search has at least one objective.", given=objectives)
    module, _, member = STRATEGIES[name].partition(":")
    made = getattr(importlib.import_module(module), member)
    return cast(Strategy, made(space, objectives, seed=seed, hints=hints or Hints()))
