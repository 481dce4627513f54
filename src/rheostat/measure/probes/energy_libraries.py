"""Energy through other people's libraries, each opened here alone: Zeus and CodeCarbon."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final

from rheostat.core.errors import MeasurementError, RheostatError
from rheostat.core.extras import require
from rheostat.measure.probes.meter import EnergyMeter, moved
from rheostat.measure.probes.probe import Provenance

__all__ = ["codecarbon_meter", "zeus_meter"]

_EXTRA: Final = "energy"
_WINDOW: Final = "rheostat"
_JOULES_A_KILOWATT_HOUR: Final = 3.6e6


def zeus_meter(device: str = "cpu") -> EnergyMeter:
    """Return a meter on Zeus (https://ml.energy/zeus).

    Args:
        device: ``cpu`` for the processor's packages, ``cuda:0`` for one GPU.

    Raises:
        RheostatError: If Zeus is not installed.
        MeasurementError: If it finds no counter for the device.
    """
    kind, _, number = device.partition(":")
    monitor = _quietly("Zeus", lambda: _zeus_monitor(kind, int(number or 0)))
    if not (monitor.gpu_indices if kind == "cuda" else monitor.cpu_indices):
        raise MeasurementError("Zeus reads counters of the hardware.", given=f"none for {device}")
    return _ZeusMeter(monitor, kind)


def codecarbon_meter() -> EnergyMeter:
    """Return a meter on CodeCarbon's estimate for the processor (https://codecarbon.io).

    It works off line, writes no file and sends nothing. The processor's rated power (TDP) comes from CodeCarbon's
    table, or is guessed at 4 W a core; its load is that of the whole machine. CodeCarbon's constants for memory
    modules are left out: they do not change with what is measured.

    Raises:
        RheostatError: If CodeCarbon is not installed.
        MeasurementError: If it does not start.
    """
    return _CodeCarbonMeter(_quietly("CodeCarbon", _codecarbon_tracker))


class _ZeusMeter(EnergyMeter):
    provenance: Provenance = "counter"

    def __init__(self, monitor: Any, kind: str) -> None:
        self.source = "Zeus, GPU alone" if kind == "cuda" else "Zeus, processor packages without memory modules"
        self._monitor, self._kind = monitor, kind
        self._running = False

    def start(self) -> None:
        _check(not self._running)
        # Zeus would wait for torch's GPU work, and so open a CUDA context in this process.
        self._monitor.begin_window(_WINDOW, sync_execution=False)
        self._running = True

    def stop(self) -> float:
        _check_started(self._running)
        self._running = False
        found = self._monitor.end_window(_WINDOW, sync_execution=False)
        energies = found.gpu_energy if self._kind == "cuda" else found.cpu_energy
        return moved(float(sum((energies or {}).values())), self.source)


class _CodeCarbonMeter(EnergyMeter):
    provenance: Provenance = "estimated"
    source = "CodeCarbon: rated power of the processor (TDP) x load, without memory modules"

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker
        self._running = False

    def start(self) -> None:
        _check(not self._running)
        self._tracker.start_task()
        self._running = True

    def stop(self) -> float:
        _check_started(self._running)
        self._running = False
        return moved(self._tracker.stop_task().cpu_energy * _JOULES_A_KILOWATT_HOUR, self.source)


def _zeus_monitor(kind: str, number: int) -> Any:
    monitor = require("zeus.monitor", extra=_EXTRA).ZeusMonitor
    return monitor(gpu_indices=[number], cpu_indices=[]) if kind == "cuda" else monitor(gpu_indices=[])


def _codecarbon_tracker() -> Any:
    tracker = require("codecarbon", extra=_EXTRA).OfflineEmissionsTracker(
        # The country decides about carbon only, which is not asked for; off line one has to be named.
        country_iso_code="USA",
        output_methods=[],
        emissions_endpoint=None,
        tracking_mode="machine",
        measure_power_secs=1,
        log_level="critical",
        allow_multiple_runs=True,
    )
    # Looking up the processor takes a second or two: now, and not while something is measured.
    tracker.start_task()
    tracker.stop_task()
    return tracker


def _quietly(name: str, make: Callable[[], Any]) -> Any:
    """Make something without a word on the terminal; what goes wrong becomes our error."""
    try:
        with _silence(), contextlib.redirect_stdout(io.StringIO()):
            return make()
    except RheostatError:
        raise
    except Exception as error:
        raise MeasurementError(f"{name} can be started.", given=f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    # CodeCarbon warns while it is imported, before a level can be set.
    log = logging.getLogger("codecarbon")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _check(free: bool) -> None:
    if not free:
        raise MeasurementError("A meter measures one run at a time.", mend="Stop it first.")


def _check_started(running: bool) -> None:
    if not running:
        raise MeasurementError("A meter is started before it is stopped.")
