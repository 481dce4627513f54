"""Instruments that replay what they are told, for tests of what reads instruments."""

from __future__ import annotations

from collections.abc import Sequence

from rheostat.core.errors import MeasurementError
from rheostat.measure.probes.meter import EnergyMeter
from rheostat.measure.probes.probe import Probe, Provenance

__all__ = ["FakeMeter", "FakeProbe"]


class FakeProbe(Probe):
    """Replays readings in order; the last one stays. A reading of None cannot be had.

    Args:
        values: The readings; at least one.
        name: Of what is read.
        unit: Of the readings.
        provenance: What it says of itself.

    Raises:
        MeasurementError: If there are no readings.

    Example:
        >>> probe = FakeProbe([1.0, 2.0])
        >>> [probe.read() for _ in range(3)]
        [1.0, 2.0, 2.0]
    """

    source = "fake"

    def __init__(
        self, values: Sequence[float | None], name: str = "fake", unit: str = "1", provenance: Provenance = "sampled"
    ) -> None:
        if not values:
            raise MeasurementError("A fake probe replays at least one reading.", given=0)
        self.name, self.unit, self.provenance = name, unit, provenance
        self.reads = 0
        self._values = tuple(values)

    def read(self) -> float:
        """Return the next reading."""
        value = self._values[min(self.reads, len(self._values) - 1)]
        self.reads += 1
        if value is None:
            raise MeasurementError("This reading cannot be had.", given=f"reading {self.reads} of {self.name}")
        return value


class FakeMeter(EnergyMeter):
    """Replays energies in order; the last one stays.

    Args:
        joules: Energy of each run; at least one.
        provenance: What it says of itself.

    Raises:
        MeasurementError: If there are no energies.

    Example:
        >>> meter = FakeMeter([5.0])
        >>> meter.start()
        >>> meter.stop()
        5.0
    """

    source = "fake"

    def __init__(self, joules: Sequence[float], provenance: Provenance = "counter") -> None:
        if not joules:
            raise MeasurementError("A fake meter replays at least one energy.", given=0)
        self.provenance = provenance
        self.runs = 0
        self._joules = tuple(joules)
        self._running = False

    def start(self) -> None:
        """Start a run.

        Raises:
            MeasurementError: If one has been started already.
        """
        if self._running:
            raise MeasurementError("A meter measures one run at a time.", mend="Stop it first.")
        self._running = True

    def stop(self) -> float:
        """Return the energy of the run.

        Raises:
            MeasurementError: If no run was started.
        """
        if not self._running:
            raise MeasurementError("A meter is started before it is stopped.")
        self._running = False
        self.runs += 1
        return self._joules[min(self.runs, len(self._joules)) - 1]
