"""Dials: knobs that can be turned at run time, and the settings they are turned to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from rheostat.core.errors import SettingError
from rheostat.core.names import suggest

__all__ = ["Dial", "checked_settings"]


@dataclass(frozen=True, slots=True)
class Dial:
    """A knob that can be turned at run time, at no cost.

    Attributes:
        name: What `Handle.set` and the profile call it.
        unit: What the value means, for people.
        low: The lower end of the range; itself excluded where ``open_low``.
        high: The upper end, included; infinity where it is the number of the model's blocks, see `bound`.
        neutral: The value at which the model is the plain one, bit for bit; infinity likewise.
        moves: How often it may move: for every token, every request, or at load.
        open_low: Whether ``low`` itself is out of range.
        whole: Whether it takes whole numbers only.

    Example:
        >>> depth = Dial("depth", "number of blocks", 1, math.inf, neutral=math.inf, moves="request", whole=True)
        >>> depth.bound(6).interval
        '[1, 6], whole'
    """

    name: str
    unit: str
    low: float
    high: float
    neutral: float
    moves: Literal["token", "request", "load"]
    open_low: bool = False
    whole: bool = False

    @property
    def interval(self) -> str:
        """The range in the usual notation, for instance ``(0, 1]``."""
        ends = f"{'(' if self.open_low else '['}{self.low:g}, {self._words(self.high)}]"
        return f"{ends}, whole" if self.whole else ends

    @property
    def is_bound(self) -> bool:
        """Whether the range is known; else it depends on the model."""
        return math.isfinite(self.high)

    def bound(self, blocks: int) -> Dial:
        """Return the dial for a model of so many blocks."""
        if self.is_bound:
            return self
        return replace(self, high=float(blocks), neutral=float(min(self.neutral, blocks)))

    def check(self, value: object) -> float:
        """Return ``value`` as a float within the range.

        Raises:
            SettingError: If it is no number or lies outside the range.
        """
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SettingError(f"The dial '{self.name}' takes a number.", given=repr(value), mend=self._hint())
        if not (self.low < value <= self.high or (value == self.low and not self.open_low)):
            raise SettingError(f"The dial '{self.name}' lies in {self.interval}.", given=value, mend=self._hint())
        if not math.isfinite(value) or (self.whole and value != int(value)):
            raise SettingError(f"The dial '{self.name}' takes a whole number.", given=value, mend=self._hint())
        return float(value)

    def _hint(self) -> str:
        return f"Choose a {self.unit} in {self.interval}; {self._words(self.neutral)} is the plain model."

    def _words(self, value: float) -> str:
        return f"{value:g}" if math.isfinite(value) else "the number of the model's blocks"


def checked_settings(dials: Iterable[Dial], settings: Mapping[str, object]) -> dict[str, float]:
    """Return the settings with every name known and every value in range.

    Raises:
        SettingError: If a name is unknown (with the nearest known one) or a value is out of range.
    """
    known = {dial.name: dial for dial in dials}
    for name in settings:
        if name not in known:
            raise SettingError("A setting names one of the dials.", given=repr(name), mend=suggest(name, known))
    return {name: known[name].check(value) for name, value in settings.items()}
