"""One random keep rate a step: the recipe of Zero-Shot Adjustable Acceleration."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar, final

from rheostat.train.recipes.recipe import Moment, Pass, Recipe, checked_rates

__all__ = ["Uniform", "keep_rate"]


def keep_rate(seed: int, step: int, low: float, high: float) -> float:
    """Return the keep rate of an optimisation step: uniform in [low, high], fixed by seed and step.

    It depends on nothing else, so a continued run draws what the uninterrupted one would have drawn.

    Example:
        >>> keep_rate(0, 7, 0.02, 1.0) == keep_rate(0, 7, 0.02, 1.0)
        True
    """
    return random.Random(f"rheostat keep rate {seed} {step}").uniform(low, high)


@final
@dataclass(frozen=True, slots=True)
class Uniform(Recipe):
    """At every step one pass, at a keep rate from U(keep_low, keep_high).

    Source: https://arxiv.org/abs/2509.01190, section 3.

    Attributes:
        keep_low: Lower end of the keep rates, in (0, 1].
        keep_high: Upper end, in (0, 1].
    """

    name: ClassVar[str] = "uniform"
    summary: ClassVar[str] = "one random keep rate a step"

    keep_low: float = 0.02
    keep_high: float = 1.0

    def __post_init__(self) -> None:
        """Refuse unfit rates."""
        checked_rates(self.keep_low, self.keep_high)

    @property
    def trains(self) -> tuple[str, ...]:
        """The dials whose lower settings it trains."""
        return ("tokens",)

    def passes(self, moment: Moment) -> tuple[Pass, ...]:
        """Return one pass."""
        return (Pass({"tokens": keep_rate(moment.seed, moment.step, self.keep_low, self.keep_high)}),)

    def told(self) -> str:
        """Return what it does."""
        return f"At every optimisation step the keep rate was drawn from U({self.keep_low:g}, {self.keep_high:g})."
