"""Measured values as text: one unit for a whole column, and no more digits than the interval supports."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rheostat.core.metrics import METRICS, Metric, MetricKind, metric_kind
from rheostat.report.wording import is_share

__all__ = ["Scale", "direction_text", "kind_of", "provenance_text", "scale_for"]

_LADDERS = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "B": ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")),
    "J": ((1e3, "kJ"), (1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")),
    "W": ((1.0, "W"), (1e-3, "mW")),
    "macs": ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1.0, "")),
}
_PROVENANCES = {
    "counter": "read off a counter or a clock",
    "sampled": "sampled over time",
    "estimated": "estimated",
    "unavailable": "unavailable",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """How the values of one metric are written.

    Attributes:
        factor: A value is divided by this.
        unit: What is written behind it; ``%`` and words stand after a blank, ``x`` does not.
        decimals: Fixed number of decimals; None: three significant digits, and up to two more where the ends of the
            interval would look the same.
    """

    factor: float
    unit: str
    decimals: int | None = None

    def text(self, metric: Metric) -> str:
        """Return a value with its unit, for instance ``12.3 ms``; empty where there is none."""
        return "" if metric.value is None else self._with_unit(self._number(metric.value, metric))

    def ends(self, metric: Metric) -> str:
        """Return the interval without its unit, for instance ``12.1 to 12.6``; empty where there is none."""
        if metric.low is None or metric.high is None or metric.low == metric.high:
            return ""
        return f"{self._number(metric.low, metric)} to {self._number(metric.high, metric)}"

    def full(self, metric: Metric) -> str:
        """Return value, unit and interval, for instance ``12.3 ms (12.1 to 12.6)``."""
        ends = self.ends(metric)
        return f"{self.text(metric)} ({ends})" if ends else self.text(metric)

    def _with_unit(self, number: str) -> str:
        return number + (self.unit if self.unit in ("", "x") else f"\N{NO-BREAK SPACE}{self.unit}")

    def _number(self, value: float, metric: Metric) -> str:
        return f"{value / self.factor:,.{self._decimals(metric)}f}"

    def _decimals(self, metric: Metric) -> int:
        middle = (metric.value or 0.0) / self.factor
        if self.decimals is not None and (abs(middle) >= 0.1 or middle == 0):
            return self.decimals
        three = max(2 - _magnitude(middle), 0)
        if metric.low is None or metric.high is None or metric.low == metric.high:
            return three
        low, high = metric.low / self.factor, metric.high / self.factor
        return next((n for n in (three, three + 1) if f"{low:.{n}f}" != f"{high:.{n}f}"), three + 2)


def scale_for(kind: MetricKind, metrics: Iterable[Metric]) -> Scale:
    """Return the scale that suits all values of a metric, chosen by the one in the middle.

    Example:
        >>> scale_for(METRICS["latency_p50"], [Metric(0.0123, "s", 0.0121, 0.0126)]).unit
        'ms'
    """
    if is_share(kind.name):
        return Scale(0.01, "%", 2)
    if kind.name == "speedup" or kind.name.startswith("compression"):
        return Scale(1.0, "x", 2)
    if kind.unit == "1/s":
        return Scale(1.0, "/s")
    ladder = _LADDERS.get("macs" if kind.name == "macs" else kind.unit)
    if ladder is None:
        return Scale(1.0, "" if kind.unit == "1" else kind.unit)
    middle = _middle([abs(metric.value) for metric in metrics if metric.value])
    factor, unit = next((step for step in ladder if middle >= step[0]), ladder[-1])
    return Scale(factor, unit)


def kind_of(name: str, unit: str = "1") -> MetricKind:
    """Return what a metric is; one that another program added is taken by its name, without a direction."""
    if name in METRICS or "/" in name:
        return metric_kind(name)
    return MetricKind(name, unit, "neither", name.replace("_", " "), "")


def direction_text(kind: MetricKind) -> str:
    """Return ``lower is better``, ``higher is better``, or nothing for context."""
    return "" if kind.better == "neither" else f"{kind.better} is better"


def provenance_text(metric: Metric) -> str:
    """Say where a value comes from, for instance ``sampled over time (VmHWM)``."""
    words = _PROVENANCES[metric.provenance]
    return f"{words} ({metric.source})" if metric.source else words


def _magnitude(value: float) -> int:
    return math.floor(math.log10(abs(value))) if value else 0


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 1.0
