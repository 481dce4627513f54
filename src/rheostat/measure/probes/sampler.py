"""Read instruments at even intervals, beside the work that they watch."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final

from rheostat.core.errors import MeasurementError
from rheostat.core.traces import Trace
from rheostat.measure.probes.probe import Probe

__all__ = ["Sampler"]

_CLOCK: Final = time.perf_counter
_SLEEP: Final = 0.05
"""Longest sleep in seconds: how long leaving may have to wait."""


class Sampler:
    """Reads probes in a thread of this process, so watch another process: what computes here would hold it up.

    Readings are due at start + n * interval, whatever came late before, so that a delay does not move all later ones.
    Of those that came due while the thread was held up one is taken; the others are lost and not made up for. One
    reading is taken at the start and one at the end beside those, so that traces span the whole time.

    Args:
        probes: What to read, each with a name of its own; at least one.
        interval: Seconds between readings; above 0.

    Raises:
        MeasurementError: If there is no probe, two share a name, or the interval is not above 0.

    Example:
        >>> from rheostat.testing.probes import FakeProbe
        >>> with Sampler([FakeProbe([3.0])], interval=0.001) as sampler:
        ...     time.sleep(0.002)
        >>> sampler.trace("fake").mean()
        3.0
    """

    def __init__(self, probes: Sequence[Probe], interval: float = 0.01) -> None:
        names = [probe.name for probe in probes]
        if not names or len(set(names)) < len(names):
            raise MeasurementError("A sampler reads at least one probe, each with a name of its own.", given=names)
        if not interval > 0:
            raise MeasurementError("Seconds between readings are above 0.", given=interval)
        self.interval = interval
        self._readings: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        self._failures: dict[str, str] = {}
        self._probes = tuple(probes)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._start = self._end = self._used = 0.0
        self._taken = 0
        self._broken: BaseException | None = None

    def __enter__(self) -> Sampler:
        """Take the first reading and start the thread."""
        if self._thread is not None:
            raise MeasurementError("A sampler runs once.", mend="Make another one.")
        self._start = self._end = _CLOCK()
        self._read()
        self._thread = threading.Thread(target=self._run, name="rheostat-sampler", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Stop the thread and take the last reading.

        Raises:
            Exception: What a probe raised that is no MeasurementError, unless the body raised something itself.
        """
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self._end = _CLOCK()
        if self._broken is None:
            self._read()
        elif error is None:
            raise self._broken

    @property
    def traces(self) -> dict[str, Trace]:
        """What each probe read, by name, on the clock of ``time.perf_counter``; without those that never answered."""
        return {name: _trace(found) for name, found in self._readings.items() if found}

    @property
    def failures(self) -> dict[str, str]:
        """Why a probe last gave no reading, by name, of those that ever failed."""
        return dict(self._failures)

    @property
    def elapsed(self) -> float:
        """Seconds from start to end."""
        return self._end - self._start

    @property
    def ticks_wanted(self) -> int:
        """Readings that were due after the first."""
        return int(self.elapsed / self.interval)

    @property
    def ticks_taken(self) -> int:
        """Readings that were taken, of those that were due."""
        return min(self._taken, self.ticks_wanted)

    @property
    def lost(self) -> float:
        """Share of the wanted readings that were not taken; 0 where none was due."""
        return 1 - self.ticks_taken / self.ticks_wanted if self.ticks_wanted else 0.0

    @property
    def cost(self) -> float:
        """Processor time of the thread over the time elapsed: a share of one core."""
        return self._used / self.elapsed if self.elapsed else 0.0

    def trace(self, name: str) -> Trace:
        """Return what one probe read.

        Raises:
            MeasurementError: If it never gave a reading; with its last reason.
        """
        traces = self.traces
        if name not in traces:
            raise MeasurementError("A trace needs a reading.", given=self._failures.get(name, f"no probe '{name}'"))
        return traces[name]

    def _run(self) -> None:
        tick = 1
        try:
            while self._waited(self._start + tick * self.interval):
                self._read()
                self._taken += 1
                # The next one that is still to come: what was missed meanwhile stays missed.
                tick = max(tick + 1, _next_tick(_CLOCK() - self._start, self.interval))
        except BaseException as error:  # noqa: BLE001
            self._broken = error
        finally:
            self._used = time.thread_time()

    def _waited(self, due: float) -> bool:
        """Wait until a time, and say whether it came before the end."""
        # Waiting for the event itself takes 70 microseconds of processor time, a sleep 40.
        while not self._stop.is_set() and (left := due - _CLOCK()) > 0:
            time.sleep(min(left, _SLEEP))
        return not self._stop.is_set()

    def _read(self) -> None:
        for probe in self._probes:
            try:
                value = probe.read()
            except MeasurementError as error:
                self._failures[probe.name] = str(error)
            else:
                self._readings[probe.name].append((_CLOCK(), value))


def _next_tick(elapsed: float, interval: float) -> int:
    return int(elapsed / interval) + 1


def _trace(found: Sequence[tuple[float, float]]) -> Trace:
    # Two readings within one step of the clock: the later one stands.
    by_time = dict(found)
    return Trace(tuple(by_time), tuple(by_time.values()))
