"""Processor time of a row, and energy estimated from it where nothing measures energy."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rheostat.core.errors import SettingError
from rheostat.core.metrics import Metric
from rheostat.measure.intervals import bootstrap_interval

__all__ = ["estimated_energy", "processor_metrics"]

_DRAWS = 400


def processor_metrics(seconds: Sequence[float]) -> dict[str, Metric]:
    """Return ``processor_time_per_sample`` with its interval over rounds.

    Args:
        seconds: Processor seconds of a row, round by round; at least one round.
    """
    low, high = bootstrap_interval(seconds, fmean, draws=_DRAWS)
    value = fmean(seconds)
    return {"processor_time_per_sample": Metric(value, "s", min(low, value), max(high, value), source="process clock")}


def estimated_energy(seconds: Sequence[float], watts: float) -> dict[str, Metric]:
    """Return ``energy_per_sample`` as processor time times the power of a busy core.

    It says how energy changes from one setting to another on one machine as far as the processor's time does; memory,
    and what the machine draws when it is idle, are not in it.

    Args:
        seconds: Processor seconds of a row, round by round.
        watts: Power of a busy core; above 0.

    Raises:
        SettingError: If it is not above 0.
    """
    if not watts > 0:
        raise SettingError("A busy core draws power.", given=f"{watts} W", mend="Leave it out where it is not known.")
    found = processor_metrics(seconds)["processor_time_per_sample"]
    value, low, high = (None if number is None else watts * number for number in (found.value, found.low, found.high))
    source = f"processor time x {watts:g} W a core"
    return {"energy_per_sample": Metric(value, "J", low, high, provenance="estimated", source=source)}
