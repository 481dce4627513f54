"""The full model, the smallest and random ones between, in every step: Length-Adaptive Transformer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from rheostat.core.errors import SettingError
from rheostat.train.recipes.recipe import Moment, Pass, Recipe, checked_number, checked_rates

__all__ = ["Sandwich"]


@final
@dataclass(frozen=True, slots=True)
class Sandwich(Recipe):
    """Each step trains the full model, the smallest and ``between`` random ones, distilled in place from the full one.

    The sandwich rule and in-place distillation are those of Length-Adaptive Transformer
    (https://arxiv.org/abs/2010.07003, section 3.2), with keep rates in place of its random lengths: the full model
    learns from the labels, the others from the full model's output of the same step, which no gradient enters.

    Attributes:
        keep_low: Keep rate of the smallest, in (0, 1]; the random ones are drawn from U(keep_low, keep_high).
        keep_high: Upper end, in (0, 1].
        between: Random ones a step, at least 0.
        distil: Weight of the full model's output against the labels, in [0, 1].
    """

    name: ClassVar[str] = "sandwich"
    summary: ClassVar[str] = "the full model, the smallest and random ones between, distilled in place"

    keep_low: float = 0.02
    keep_high: float = 1.0
    between: int = 2
    distil: float = 1.0

    def __post_init__(self) -> None:
        """Refuse unfit settings."""
        checked_rates(self.keep_low, self.keep_high)
        checked_number("distil", self.distil)
        if isinstance(self.between, bool) or not isinstance(self.between, int) or self.between < 0:
            raise SettingError("between is a whole number from 0.", given=repr(self.between))

    @property
    def trains(self) -> tuple[str, ...]:
        """The dials whose lower settings it trains."""
        return ("tokens",)

    def passes(self, moment: Moment) -> tuple[Pass, ...]:
        """Return the full pass, the smallest, and the random ones."""
        drawn = moment.random("sandwich")
        rates = [self.keep_low, *(drawn.uniform(self.keep_low, self.keep_high) for _ in range(self.between))]
        return (Pass(remember=True), *(Pass({"tokens": rate}, distil=self.distil) for rate in rates))

    def told(self) -> str:
        """Return what it does."""
        return (
            f"Every optimisation step trained the full model, keep rate {self.keep_low:g}, and {self.between} from "
            f"U({self.keep_low:g}, {self.keep_high:g}); these learnt from the full model's output."
        )
