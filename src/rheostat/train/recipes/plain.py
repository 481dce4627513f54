"""The control of every experiment: ordinary fine-tuning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, final

from rheostat.train.recipes.recipe import Moment, Pass, Recipe

__all__ = ["Plain"]


@final
@dataclass(frozen=True, slots=True)
class Plain(Recipe):
    """The plain model at every step."""

    name: ClassVar[str] = "plain"
    summary: ClassVar[str] = "ordinary fine-tuning of the plain model: the control"

    def passes(self, moment: Moment) -> tuple[Pass, ...]:
        """Return one pass at neutral."""
        return (Pass(),)

    def told(self) -> str:
        """Return what it does."""
        return "This is a control: the plain model was fine-tuned, at keep rate 1."
