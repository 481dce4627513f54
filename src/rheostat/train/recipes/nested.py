"""Depth sub-models that share the final norm and the head: SortedNet and SoFT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from rheostat.core.errors import SettingError
from rheostat.train.recipes.recipe import Moment, Pass, Recipe, checked_depths, checked_rates, fit_depths
from rheostat.train.recipes.uniform import keep_rate

__all__ = ["Nested"]


@final
@dataclass(frozen=True, slots=True)
class Nested(Recipe):
    """Each step the first n blocks answer through the shared norm and head, for several n; the losses are averaged.

    ``L = mean over n in B of L_n``, one backward pass (SoFT, https://arxiv.org/abs/2309.08968, equation 1); with
    ``sampled``, the mean over so many depths drawn from B a step, as in SortedNet (https://arxiv.org/abs/2309.00255).

    Attributes:
        depths: B: the depths that are trained, ascending; empty for every second block and the last.
        sampled: How many of them are drawn for a step; None for all.
        keep_low: Lower end of the keep rates at which the steps run, in (0, 1]; 1 trains depth only.
        keep_high: Upper end, in (0, 1].
    """

    name: ClassVar[str] = "nested"
    summary: ClassVar[str] = "the first n blocks with the shared norm and head, for several n in every step"

    depths: tuple[int, ...] = ()
    sampled: int | None = None
    keep_low: float = 1.0
    keep_high: float = 1.0

    def __post_init__(self) -> None:
        """Refuse unfit settings, and turn a list into a tuple."""
        object.__setattr__(self, "depths", tuple(self.depths))
        checked_rates(self.keep_low, self.keep_high)
        checked_depths(self.depths)
        if self.sampled is not None and (
            isinstance(self.sampled, bool) or not isinstance(self.sampled, int) or self.sampled < 1
        ):
            raise SettingError("sampled is a whole number from 1, or left out.", given=repr(self.sampled))

    @property
    def trains(self) -> tuple[str, ...]:
        """The dials whose lower settings it trains."""
        return ("depth",) if self.keep_low == 1.0 else ("tokens", "depth")

    def check(self, blocks: int) -> None:
        """Refuse depths that the model does not have.

        Raises:
            SettingError: If there are more depths than blocks, or more are to be drawn than there are.
        """
        depths = self._depths(blocks)
        fit_depths(depths, blocks)
        if self.sampled is not None and self.sampled > len(depths):
            raise SettingError(
                "No more depths are drawn for a step than there are.",
                given=f"sampled={self.sampled} of {len(depths)}",
                mend="Leave it out to train all of them in every step.",
            )

    def passes(self, moment: Moment) -> tuple[Pass, ...]:
        """Return one pass that answers at several depths."""
        depths = self._depths(moment.blocks)
        if self.sampled is not None:
            depths = tuple(sorted(moment.random("depths").sample(depths, self.sampled)))
        rate = keep_rate(moment.seed, moment.step, self.keep_low, self.keep_high)
        return (Pass({} if rate == 1.0 else {"tokens": rate}, depths=depths),)

    def told(self) -> str:
        """Return what it does."""
        depths = ", ".join(map(str, self.depths)) if self.depths else "every second block and the last"
        drawn = "all" if self.sampled is None else f"{self.sampled} of them, drawn at random"
        return f"Sub-models that end at depth {depths} shared the norm and the head; every step trained {drawn}."

    def _depths(self, blocks: int) -> tuple[int, ...]:
        return self.depths or tuple(depth for depth in range(1, blocks + 1) if depth % 2 == blocks % 2)
