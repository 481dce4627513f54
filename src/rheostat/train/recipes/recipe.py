"""What a recipe is: which passes over a batch make an optimisation step."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from rheostat.core.errors import SettingError

__all__ = ["Moment", "Pass", "Recipe", "checked_depths", "checked_number", "checked_rates", "fit_depths"]


@dataclass(frozen=True, slots=True)
class Moment:
    """An optimisation step of a run.

    Attributes:
        seed: The seed of the run.
        step: Optimisation steps done before it.
        steps: Optimisation steps of the whole run.
        blocks: Blocks of the model.
        entry: Which part of the token dial's cut is made before the first of them, in [0, 1].
    """

    seed: int
    step: int
    steps: int
    blocks: int
    entry: float = 0.0

    @property
    def done(self) -> float:
        """The share of the run that is done, in [0, 1)."""
        return self.step / max(self.steps, 1)

    def random(self, purpose: str) -> random.Random:
        """Return a generator that depends on seed, step and purpose alone: a continued run draws the same."""
        return random.Random(f"rheostat {purpose} {self.seed} {self.step}")


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward and backward over a batch.

    Attributes:
        settings: Dial settings; dials that it does not name are at neutral.
        distil: Weight of the soft targets, the output of the step's pass with ``remember``, in [0, 1]; the labels
            have the rest.
        remember: Whether its output is what later passes of the step learn from.
        depths: Depths at which the shared norm and head answer, each weighing the same; none for the full model only.
    """

    settings: Mapping[str, float] = field(default_factory=dict)
    distil: float = 0.0
    remember: bool = False
    depths: tuple[int, ...] = ()


class Recipe(ABC):
    """How a fine-tuning makes a model robust at every speed. Subclasses are final frozen dataclasses, one a file.

    Attributes:
        name: What users call it.
        summary: One line for tables.
        early: Whether a part of the token dial's cut is made before the first block, where that fits; see
            `rheostat.train.salience.early_dial`.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    early: ClassVar[bool] = False

    @property
    def trains(self) -> tuple[str, ...]:
        """The dials whose lower settings it trains."""
        return ()

    @abstractmethod
    def passes(self, moment: Moment) -> tuple[Pass, ...]:
        """Return the passes of a step; their gradients are averaged. Fixed by the moment alone."""

    @abstractmethod
    def told(self) -> str:
        """Return what it does, as one sentence for a model card."""

    def check(self, blocks: int) -> None:  # noqa: B027 - most recipes fit every model
        """Refuse a recipe that contradicts a model.

        Raises:
            SettingError: If it does; for the base class never.
        """

    def to_json(self) -> dict[str, Any]:
        """Return its name and settings as plain data."""
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}  # type: ignore[call-overload]
        return {"recipe": self.name, **plain}


def checked_rates(low: float, high: float) -> None:
    """Refuse keep rates outside (0, 1], or a range that is upside down.

    Raises:
        SettingError: If it is.
    """
    for name, value in (("keep_low", low), ("keep_high", high)):
        checked_number(name, value, above=0.0)
    if low > high:
        raise SettingError(
            "The keep rates reach from keep_low up to keep_high.",
            given=f"keep_low={low} and keep_high={high}",
            mend="Swap them, or set both.",
        )


def checked_depths(depths: Sequence[int]) -> None:
    """Refuse what is not a list of ascending depths.

    Raises:
        SettingError: If it is not.
    """
    whole = all(isinstance(depth, int) and not isinstance(depth, bool) for depth in depths)
    if not whole or list(depths) != sorted(set(depths)) or min(depths, default=1) < 1:
        raise SettingError(
            "The depths are ascending whole numbers from 1, each once.",
            given=list(depths),
            mend="Depth 1 is the first block, and the last depth all blocks.",
        )


def fit_depths(depths: Sequence[int], blocks: int) -> None:
    """Refuse depths that a model does not have.

    Raises:
        SettingError: If one is beyond its blocks.
    """
    if depths and depths[-1] > blocks:
        raise SettingError(
            f"The depths lie between 1 and the model's {blocks} blocks.",
            given=list(depths),
            mend=f"Leave out those above {blocks}.",
        )


def checked_number(name: str, value: object, *, above: float | None = None) -> None:
    """Refuse what is not a number in [0, 1], or in (above, 1].

    Raises:
        SettingError: If it is not.
    """
    number = not isinstance(value, bool) and isinstance(value, int | float)
    if number and 0.0 <= value <= 1.0 and (above is None or value > above):  # type: ignore[operator]
        return
    least = "at least 0" if above is None else f"above {above:g}"
    raise SettingError(f"{name} is a number {least} and at most 1.", given=repr(value))
