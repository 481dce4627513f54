"""Start at the full model, widen the range of keep rates, and let the full model teach now and then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from rheostat.core.errors import SettingError
from rheostat.train.recipes.recipe import Moment, Pass, Recipe, checked_number, checked_rates

__all__ = ["Mixed"]


@final
@dataclass(frozen=True, slots=True)
class Mixed(Recipe):
    """Full steps first, then one random keep rate a step from a range that widens; every k-th step is distilled.

    The full steps give pruning something to rank by: attention that means something. A pruned step costs a fraction of
    a full one, so that most steps are pruned ones. The widening is a curriculum, as in VARiant
    (https://arxiv.org/abs/2601.15024, there over depths).

    Attributes:
        keep_low: Lower end of the keep rates, in (0, 1].
        keep_high: Upper end, in (0, 1].
        full: Share of the steps at the start that train the full model, in [0, 1].
        widen: Share of the steps after those, in which the lower end falls from ``keep_high`` to ``keep_low``, in
            [0, 1].
        teach_every: Every so many steps the full model learns from the labels and the pruned one from the full
            model's output; 0 for never.
        distil: Weight of that output against the labels, in [0, 1].
    """

    name: ClassVar[str] = "mixed"
    summary: ClassVar[str] = "full steps first, then random keep rates from a range that widens, some steps distilled"

    keep_low: float = 0.02
    keep_high: float = 1.0
    full: float = 0.1
    widen: float = 0.4
    teach_every: int = 0
    distil: float = 1.0

    def __post_init__(self) -> None:
        """Refuse unfit settings."""
        checked_rates(self.keep_low, self.keep_high)
        for name in ("full", "widen", "distil"):
            checked_number(name, getattr(self, name))
        if self.full + self.widen > 1.0:
            raise SettingError(
                "full and widen are shares of one run.", given=f"full={self.full:g} and widen={self.widen:g}"
            )
        if isinstance(self.teach_every, bool) or not isinstance(self.teach_every, int) or self.teach_every < 0:
            raise SettingError("teach_every is a whole number from 0.", given=repr(self.teach_every))

    def passes(self, moment: Moment) -> tuple[Pass, ...]:
        """Return a full pass, a pruned one, or both."""
        if moment.done < self.full:
            return (Pass(),)
        rate = moment.random("mixed").uniform(self._low(moment.done), self.keep_high)
        if self.teach_every and moment.step % self.teach_every == 0:
            return (Pass(remember=True), Pass({"tokens": rate}, distil=self.distil))
        return (Pass({"tokens": rate}),)

    def told(self) -> str:
        """Return what it does."""
        taught = f"; every {self.teach_every}th step the full model taught" if self.teach_every else ""
        return (
            f"The first {self.full:.0%} of the steps trained the full model; then the keep rate was drawn from a range "
            f"that widened to [{self.keep_low:g}, {self.keep_high:g}] within {self.widen:.0%} of the steps{taught}."
        )

    def _low(self, done: float) -> float:
        reached = 1.0 if self.widen == 0.0 else min((done - self.full) / self.widen, 1.0)
        return self.keep_high - reached * (self.keep_high - self.keep_low)
