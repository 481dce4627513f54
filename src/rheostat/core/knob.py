"""Knobs: settings of a technique with their domain, chosen before it is put on a model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rheostat.core.errors import SettingError
from rheostat.core.names import suggest

__all__ = ["Knob", "Value", "value_of"]

Value = str | int | float
"""What a knob can be set to."""


@dataclass(frozen=True, slots=True)
class Knob:
    """A setting of a technique that is chosen before it is put on a model. What can be turned later is a `Dial`.

    It has choices, or else a range; the range holds whole numbers where ``neutral`` is one.

    Attributes:
        name: What configurations call it, and the technique's own field.
        what: What it sets, for people.
        neutral: The value at which it changes nothing.
        choices: The values it can have; empty where it has a range.
        low: The lower end of the range, included.
        high: The upper end, included.

    Raises:
        SettingError: If neutral itself is out of the domain.

    Example:
        >>> Knob("precision", "how weights are held", "fp32", choices=("fp32", "int8")).check("int8")
        'int8'
    """

    name: str
    what: str
    neutral: Value
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        """Refuse a neutral value outside the domain."""
        self.check(self.neutral)

    @property
    def domain(self) -> str:
        """The values it can have, for instance ``fp32 | int8`` or ``whole numbers from 1``."""
        if self.choices:
            return " | ".join(self.choices)
        ends = f"from {self.low:g}" if self.high == math.inf else f"from {self.low:g} to {self.high:g}"
        return f"{'whole numbers' if self._whole else 'numbers'} {ends}"

    def check(self, value: object) -> Value:
        """Return ``value`` if it lies in the domain.

        Raises:
            SettingError: If it does not; with the nearest choice.
        """
        return self._choice(value) if self.choices else self._number(value)

    @property
    def _whole(self) -> bool:
        return isinstance(self.neutral, int)

    def _choice(self, value: object) -> str:
        if isinstance(value, str) and value in self.choices:
            return value
        raise SettingError(
            f"The knob '{self.name}' has one of its choices.", given=repr(value), mend=suggest(str(value), self.choices)
        )

    def _number(self, value: object) -> float:
        hint = f"It takes {self.domain}; {self.neutral:g} is neutral."
        kinds = int if self._whole else int | float
        if isinstance(value, bool) or not isinstance(value, kinds):
            number = "whole number" if self._whole else "number"
            raise SettingError(f"The knob '{self.name}' takes a {number}.", given=repr(value), mend=hint)
        if not self.low <= value <= self.high:
            raise SettingError(f"The knob '{self.name}' lies in its range.", given=repr(value), mend=hint)
        return value


def value_of(text: str) -> Value:
    """Return what a text on a command line stands for: a whole number, a number, or the text itself.

    Example:
        >>> value_of("8"), value_of("0.5"), value_of(" int8")
        (8, 0.5, 'int8')
    """
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip()
