"""One random keep rate a step, low ones as often as high ones: most steps are cheap."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Final, final

from rheostat.core.schedule import rate_of_work
from rheostat.train.recipes.recipe import (
    Moment,
    Pass,
    Recipe,
    checked_depths,
    checked_number,
    checked_rates,
    fit_depths,
)

__all__ = ["Mixed"]

_LEAST: Final = 0.125
"""Where the keep rates begin: that share of a text's states enters the blocks on average."""


@final
@dataclass(frozen=True, slots=True)
class Mixed(Recipe):
    """At every step one pass: some at the full model, the others at a keep rate whose logarithm is uniform.

    Ours. At equal time it is the number of steps that decides, and a step at a low keep rate costs a fraction of a
    full one. What the model learns at low rates serves the high ones, too; the full steps keep the full model's answers
    near those of plain fine-tuning. The lab log tells what was tried beside it.

    Attributes:
        keep_low: Lower end of the keep rates, in (0, 1]; None for the one at which an eighth of a text's states enter
            the blocks on average, which depends on how many blocks there are.
        keep_high: Upper end, in (0, 1].
        full: Share of the steps that train the full model, in [0, 1].
        warm: Share of the run, at its beginning, in which every step trains the full model, in [0, 1].
        depths: Depths at which every step answers through the shared norm and head, as in `Nested`, ascending; empty
            for the full model only.
    """

    name: ClassVar[str] = "mixed"
    summary: ClassVar[str] = "one random keep rate a step, low ones as often as high ones"
    early: ClassVar[bool] = True

    keep_low: float | None = None
    keep_high: float = 1.0
    full: float = 0.3
    warm: float = 0.0
    depths: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Refuse unfit settings, and turn a list into a tuple."""
        object.__setattr__(self, "depths", tuple(self.depths))
        checked_depths(self.depths)
        checked_rates(self.keep_high if self.keep_low is None else self.keep_low, self.keep_high)
        checked_number("full", self.full)
        checked_number("warm", self.warm)

    @property
    def trains(self) -> tuple[str, ...]:
        """The dials whose lower settings it trains."""
        return ("tokens", "depth") if self.depths else ("tokens",)

    def check(self, blocks: int) -> None:
        """Refuse depths that the model does not have.

        Raises:
            SettingError: If one is beyond its blocks.
        """
        fit_depths(self.depths, blocks)

    def passes(self, moment: Moment) -> tuple[Pass, ...]:
        """Return one pass."""
        drawn = moment.random("mixed")
        if moment.done < self.warm or drawn.random() < self.full:
            return (Pass(depths=self.depths),)
        low = rate_of_work(_LEAST, moment.blocks, moment.entry) if self.keep_low is None else self.keep_low
        rate = math.exp(drawn.uniform(math.log(min(low, self.keep_high)), math.log(self.keep_high)))
        return (Pass({"tokens": rate}, depths=self.depths),)

    def told(self) -> str:
        """Return what it does."""
        full = f"; {self.full:.0%} of the steps trained the full model" if self.full else ""
        warm = f"; the first {self.warm:.0%} of the run trained the full model alone" if self.warm else ""
        depths = f"; every step trained the depths {' and '.join(map(str, self.depths))}" if self.depths else ""
        low = "an eighth of the work" if self.keep_low is None else f"{self.keep_low:g}"
        return (
            f"At every optimisation step the keep rate was drawn log-uniformly, from {low} to "
            f"{self.keep_high:g}{full}{warm}{depths}."
        )
