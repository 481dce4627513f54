"""Numbers with their units in a few letters, for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rheostat.core.knob import Value
from rheostat.core.metrics import metric_kind

__all__ = ["configuration_words", "quantity_text"]

_SHARES: Final = {"accuracy", "f1", "agreement", "calibration_error", "compute_utilisation", "processor_utilisation"}
_SCALES: Final = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "J": ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ")),
    "B": ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")),
}


def quantity_text(metric: str, value: float) -> str:
    """Return a value of a metric for people.

    Example:
        >>> quantity_text("latency_p95", 0.0153), quantity_text("memory_peak_host", 3 << 28)
        ('15.3 ms', '768 MiB')
        >>> quantity_text("accuracy", 0.9125), quantity_text("perplexity", 23.4)
        ('91.2 %', '23.4')
    """
    if metric in _SHARES:
        return f"{100 * value:.1f} %"
    unit = metric_kind(metric).unit
    scales = _SCALES.get(unit)
    if scales is None:
        return f"{value:.3g}" if unit == "1" else f"{value:.3g} {unit}"
    size, letters = next((scale for scale in scales if abs(value) >= scale[0]), scales[-1])
    number = value / size
    return f"{number:.0f} {letters}" if abs(number) >= 100 else f"{number:.3g} {letters}"


def configuration_words(configuration: Mapping[str, Value]) -> str:
    """Return a configuration in a line.

    Example:
        >>> configuration_words({"tokens": 0.5, "precision": "int8"})
        'tokens=0.5 precision=int8'
    """
    shown = (
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in configuration.items()
    )
    return " ".join(shown)
