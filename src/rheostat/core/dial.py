"""Dials: knobs that can be turned at run time, and the settings they are turned to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
        high: The upper end, included.
        neutral: The value at which the model is the plain one, bit for bit.
        moves: How often it may move: for every token, every request, or at load.
        open_low: Whether ``low`` itself is out of range.
    """

    name: str
    unit: str
    low: float
    high: float
    neutral: float
    moves: Literal["token", "request", "load"]
    open_low: bool = False

    @property
    def interval(self) -> str:
        """The range in the usual notation, for instance ``(0, 1]``."""
        return f"{'(' if self.open_low else '['}{self.low:g}, {self.high:g}]"

    def check(self, value: object) -> float:
        """Return ``value`` as a float within the range.

        Raises:
            SettingError: If it is no number or lies outside the range.
        """
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SettingError(f"The dial '{self.name}' takes a number.", given=repr(value), mend=self._hint())
        if not (self.low < value <= self.high or (value == self.low and not self.open_low)):
            raise SettingError(f"The dial '{self.name}' lies in {self.interval}.", given=value, mend=self._hint())
        return float(value)

    def _hint(self) -> str:
        return f"Choose a {self.unit} in {self.interval}; {self.neutral:g} is the plain model."


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
