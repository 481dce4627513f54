"""Small error bars inside table cells: an SVG drawing that needs no script."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rheostat.core.metrics import Metric

__all__ = ["Whiskers"]

_WIDTH, _HEIGHT, _EDGE, _ROOM = 150, 20, 14, 30
_TICKS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20, 30, 50, 100, 300, 1000)


@dataclass(frozen=True, slots=True)
class Whiskers:
    """One logarithmic axis for all speed-ups of a table, so that 2x and 0.5x lie equally far from 1.

    Attributes:
        low: The left end, greater than 0.
        high: The right end.
    """

    low: float
    high: float

    @classmethod
    def over(cls, metrics: Sequence[Metric]) -> Whiskers:
        """Return an axis that holds 1 and every value with its interval."""
        numbers = [
            number
            for metric in metrics
            for number in (metric.value, metric.low, metric.high)
            if number is not None and number > 0
        ]
        return cls(min([0.9, *numbers]), max([1.1, *numbers]))

    def drawn(self, metric: Metric, look: str) -> str:
        """Return one value as a dot on its interval.

        Args:
            metric: The value; nothing is drawn where it is missing.
            look: ``tied``, ``slow`` or nothing; a class for the style sheet.
        """
        if metric.value is None:
            return ""
        middle, bar = _HEIGHT / 2, ""
        if metric.low is not None and metric.high is not None:
            left, right = self._place(metric.low), self._place(metric.high)
            bar = _line(left, right, middle, middle) + "".join(
                _line(end, end, middle - 4, middle + 4) for end in (left, right)
            )
        dot = f'<circle cx="{self._place(metric.value):.1f}" cy="{middle:g}" r="2.4"/>'
        return _svg(_HEIGHT, look, self._one(_HEIGHT) + bar + dot)

    def axis(self) -> str:
        """Return the axis with its ticks, for the head of the column."""
        ticks = self._ticks()
        marks = "".join(
            f'<text x="{self._place(tick):.1f}" y="10">{tick:g}x</text>'
            + _line(self._place(tick), self._place(tick), 13, 17, "grid")
            for tick in ticks
        )
        return _svg(17, "axis", marks)

    def _ticks(self) -> list[float]:
        """1, and as many other ticks as there is room for, from 1 outwards."""
        chosen = [1.0]
        for tick in sorted((tick for tick in _TICKS if self.low <= tick <= self.high), key=lambda t: abs(math.log(t))):
            if all(abs(self._place(tick) - self._place(other)) >= _ROOM for other in chosen):
                chosen.append(tick)
        return chosen

    def _one(self, height: int) -> str:
        return _line(self._place(1), self._place(1), 0, height, "one")

    def _place(self, value: float) -> float:
        low, high = math.log(self.low), math.log(self.high)
        share = (math.log(max(value, self.low)) - low) / (high - low)
        return _EDGE + share * (_WIDTH - 2 * _EDGE)


def _svg(height: int, look: str, inside: str) -> str:
    size = f'width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}"'
    return f'<svg class="whisker {look}" {size} aria-hidden="true">{inside}</svg>'


def _line(left: float, right: float, top: float, bottom: float, look: str = "") -> str:
    mark = f' class="{look}"' if look else ""
    return f'<line{mark} x1="{left:.1f}" x2="{right:.1f}" y1="{top:g}" y2="{bottom:g}"/>'
