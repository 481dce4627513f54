"""What an energy meter is, and the one that reads a counter."""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable

from rheostat.core.errors import MeasurementError
from rheostat.measure.probes.probe import Provenance

__all__ = ["CounterMeter", "EnergyMeter", "moved"]


class EnergyMeter(abc.ABC):
    """Measures the energy of one run at a time.

    Attributes:
        provenance: ``counter`` where a counter of the hardware is read, ``estimated`` where energy is computed from
            something else.
        source: What is read and what it covers, in a few words.
    """

    provenance: Provenance
    source: str

    @abc.abstractmethod
    def start(self) -> None:
        """Start a run.

        Raises:
            MeasurementError: If one has been started already.
        """

    @abc.abstractmethod
    def stop(self) -> float:
        """End the run and return its energy in joules: gross, and above 0.

        Raises:
            MeasurementError: If none was started, or the source has not moved, as with a run that is shorter than
                its step.
        """


class CounterMeter(EnergyMeter):
    """Reads a counter at both ends of a run.

    Args:
        read: Returns joules since some time in the past.
        source: What is read.
        refresh: Seconds between reads of the counter during a run, for one that has to be followed; None where both
            ends are enough.
    """

    provenance: Provenance = "counter"

    def __init__(self, read: Callable[[], float], source: str, *, refresh: float | None = None) -> None:
        self.source = source
        self._counter, self._refresh = read, refresh
        self._begin: float | None = None
        self._ended = threading.Event()
        self._follower: threading.Thread | None = None

    def start(self) -> None:
        """Read the counter."""
        if self._begin is not None:
            raise MeasurementError("A meter measures one run at a time.", mend="Stop it first.")
        self._begin = self._counter()
        if self._refresh is not None:
            self._ended.clear()
            self._follower = threading.Thread(target=self._follow, args=(self._refresh,), daemon=True)
            self._follower.start()

    def stop(self) -> float:
        """Read the counter again and return the difference in joules."""
        if self._begin is None:
            raise MeasurementError("A meter is started before it is stopped.")
        if self._follower is not None:
            self._ended.set()
            self._follower.join()
        begin, self._begin = self._begin, None
        return moved(self._counter() - begin, self.source)

    def _follow(self, interval: float) -> None:
        while not self._ended.wait(interval):
            self._counter()


def moved(joules: float, source: str) -> float:
    """Return an energy, refusing what only looks like one.

    Raises:
        MeasurementError: If it is not above 0.
    """
    if not joules > 0:
        raise MeasurementError(
            "A run uses more energy than the meter's step.", given=f"{joules} J by {source}", mend="Measure more work."
        )
    return joules
