"""One random keep rate a step, low ones as often as high ones: most steps are cheap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, final

from rheostat.train.recipes.recipe import Moment, Pass, Recipe, checked_number, checked_rates

__all__ = ["Mixed"]


@final
@dataclass(frozen=True, slots=True)
class Mixed(Recipe):
    """At every step one pass: some at the full model, the others at a keep rate whose logarithm is uniform.

    Ours. At equal time it is the number of steps that decides, and a step at a low keep rate costs a fraction of a
    full one: with these settings there are almost three times as many steps as in plain fine-tuning. What the model
    learns at low rates serves the high ones, too; the full steps keep the full model's answers well calibrated. The lab
    log tells what was tried beside it.

    Attributes:
        keep_low: Lower end of the keep rates, in (0, 1].
        keep_high: Upper end, in (0, 1].
        full: Share of the steps that train the full model, in [0, 1].
        warm: Share of the run, at its beginning, in which every step trains the full model, in [0, 1].
    """

    name: ClassVar[str] = "mixed"
    summary: ClassVar[str] = "one random keep rate a step, low ones as often as high ones"
    trains: ClassVar[tuple[str, ...]] = ("tokens",)

    keep_low: float = 0.1
    keep_high: float = 1.0
    full: float = 0.1
    warm: float = 0.0

    def __post_init__(self) -> None:
        """Refuse unfit settings."""
        checked_rates(self.keep_low, self.keep_high)
        checked_number("full", self.full)
        checked_number("warm", self.warm)

    def passes(self, moment: Moment) -> tuple[Pass, ...]:
        """Return one pass."""
        drawn = moment.random("mixed")
        if moment.done < self.warm or drawn.random() < self.full:
            return (Pass(),)
        return (Pass({"tokens": math.exp(drawn.uniform(math.log(self.keep_low), math.log(self.keep_high)))}),)

    def told(self) -> str:
        """Return what it does."""
        full = f"; {self.full:.0%} of the steps trained the full model" if self.full else ""
        warm = f"; the first {self.warm:.0%} of the run trained the full model alone" if self.warm else ""
        return (
            f"At every optimisation step the keep rate was drawn log-uniformly from "
            f"[{self.keep_low:g}, {self.keep_high:g}]{full}{warm}."
        )
