"""What a local evaluator reads beside the clock, and where its own time goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from rheostat.measure.probes.energy import energy_meter, idle_power
from rheostat.measure.probes.meter import EnergyMeter
from rheostat.measure.probes.peak import machine_peak
from rheostat.measure.probes.probe import Unavailable

__all__ = ["Clock", "Instruments"]

_IDLE_SECONDS: Final = 2.0


@dataclass(slots=True)
class Clock:
    """What a measurement took, in seconds."""

    training: float = 0.0
    loading: float = 0.0
    judging: float = 0.0
    measuring: float = 0.0

    def to_json(self) -> dict[str, float]:
        """Return all of it, and the sum, as a measurement's conditions name them."""
        parts = {name: getattr(self, name) for name in Clock.__slots__}
        return {"seconds": sum(parts.values()), **{f"{name}_seconds": value for name, value in parts.items()}}


@dataclass(frozen=True, slots=True)
class Instruments:
    """What is read beside the clock.

    Attributes:
        meter: Of energy; None where there is none.
        idle_watts: Power of the idle machine; None where there is no meter.
        energy_reason: Why there is none; empty where there is.
        energy_estimated: Whether the meter estimates.
        peak: The machine's peak, floating-point operations a second.
    """

    meter: EnergyMeter | None
    idle_watts: float | None
    energy_reason: str
    energy_estimated: bool
    peak: float

    @classmethod
    def of(cls, device: str) -> Instruments:
        """Return the instruments for what runs on a device; takes seconds where the peak is not known yet."""
        meter, peak = energy_meter(device), machine_peak(device).flops
        if isinstance(meter, Unavailable):
            return cls(None, None, meter.reason, False, peak)
        return cls(meter, idle_power(meter, _IDLE_SECONDS), "", meter.provenance == "estimated", peak)
