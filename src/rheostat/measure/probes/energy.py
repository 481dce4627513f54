"""Energy of a run, from the best source that this machine has; where it has none, that is said."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from rheostat.core.errors import MeasurementError, RheostatError
from rheostat.measure.probes.energy_libraries import codecarbon_meter, zeus_meter
from rheostat.measure.probes.meter import CounterMeter, EnergyMeter
from rheostat.measure.probes.nvml import open_nvml
from rheostat.measure.probes.probe import Unavailable

__all__ = [
    "POWERCAP",
    "CounterMeter",
    "EnergyMeter",
    "energy_meter",
    "idle_power",
    "nvml_meter",
    "rapl_meter",
]

POWERCAP: Final = Path("/sys/class/powercap")
"""Where Linux shows the energy counters of processors (RAPL)."""

_REFRESH: Final = 60.0


def energy_meter(device: str = "cpu", *, powercap: Path = POWERCAP) -> EnergyMeter | Unavailable:
    """Return the best meter for what runs on a device.

    Tried in order are, for a GPU, its own counter (NVML) and Zeus, which knows other makers; for the processor, its
    own counter (RAPL), Zeus, which reads that through a daemon where the user may not, and CodeCarbon's estimate. A
    counter of the GPU says nothing of work on the processor and is not used for it, and the other way round.

    Args:
        device: Where the model runs: ``cpu``, ``cuda:0`` ...
        powercap: The folder of the processor's counters.

    Returns:
        The meter; or why there is none, source by source.
    """
    reasons = []
    for name, make in _sources(device, powercap):
        try:
            return make()
        except RheostatError as error:
            reasons.append(f"{name}: {error.rule.rstrip('.') if error.given is None else error.given}")
    return Unavailable("; ".join(reasons) or f"no energy source is known for {device}")


def idle_power(meter: EnergyMeter, seconds: float = 5.0) -> float:
    """Return the power of the machine while nothing is measured, in watts.

    Args:
        meter: What will measure the runs.
        seconds: How long to wait; above 0.

    Raises:
        MeasurementError: If the time is not above 0, or the meter did not move.
    """
    if not seconds > 0:
        raise MeasurementError("Idle power takes time to measure.", given=f"{seconds} s")
    meter.start()
    start = time.perf_counter()
    time.sleep(seconds)
    elapsed = time.perf_counter() - start
    return meter.stop() / elapsed


def nvml_meter(device: str = "cuda", *, library: Any = None) -> EnergyMeter:
    """Return a meter on the total-energy counter of an NVIDIA GPU (Volta or newer).

    Args:
        device: ``cuda`` or ``cuda:1``, numbered as torch does under ``CUDA_VISIBLE_DEVICES``; GPUs of several kinds
            need ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` for torch and the driver to agree.
        library: Stands in for the NVML bindings.

    Raises:
        RheostatError: If the bindings are not installed.
        MeasurementError: If there is no driver, no such GPU, or no counter in it.
    """
    nvml = open_nvml() if library is None else library
    name = _driver_name(device, os.environ.get("CUDA_VISIBLE_DEVICES"))
    try:
        by_number = name.isdigit()
        handle = nvml.nvmlDeviceGetHandleByIndex(int(name)) if by_number else nvml.nvmlDeviceGetHandleByUUID(name)
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except nvml.NVMLError as error:
        raise MeasurementError("A GPU's energy is read off its counter.", given=f"{device}: {error}") from error
    return CounterMeter(
        lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3, f"NVML total energy of GPU {name}, GPU alone"
    )


def rapl_meter(folder: Path = POWERCAP) -> EnergyMeter:
    """Return a meter on the energy counters of the processor's packages.

    Zones within a package are part of it and not counted again; memory modules have a zone of their own that is not
    part of it and is left out.

    Args:
        folder: The folder of the counters.

    Raises:
        MeasurementError: If there is no counter, or this user may not read it.
    """
    zones = _packages(folder)
    if not zones:
        raise MeasurementError("The processor shows an energy counter.", given=f"no package zone under {folder}")
    try:
        counters = [_RaplCounter(zone) for zone in zones.values()]
    except (OSError, ValueError) as error:
        raise MeasurementError(
            "The energy counters of the processor can be read.",
            given=str(error),
            mend=f"Let the user read {folder}/*/energy_uj.",
        ) from error
    return CounterMeter(
        lambda: sum(counter.read() for counter in counters),
        f"RAPL {', '.join(zones)}, without memory modules",
        refresh=_REFRESH,
    )


class _RaplCounter:
    """One zone's counter, which starts again from 0 at its range.

    Followed at least once a minute it cannot turn over twice unseen: the smallest ranges hold 65 kJ.
    """

    def __init__(self, zone: Path) -> None:
        self._file = zone / "energy_uj"
        self._range = int((zone / "max_energy_range_uj").read_text(encoding="utf-8"))
        self._lock = threading.Lock()
        self._total = 0
        self._last = self._now()

    def read(self) -> float:
        """Return joules since this object was made."""
        with self._lock:
            now = self._now()
            self._total += now - self._last if now >= self._last else now - self._last + self._range
            self._last = now
            return self._total / 1e6

    def _now(self) -> int:
        return int(self._file.read_text(encoding="utf-8"))


def _packages(folder: Path) -> dict[str, Path]:
    """Return the package zones by name; one that is shown through two interfaces is there once."""
    found: dict[str, Path] = {}
    # The register interface before the one in memory ("intel-rapl-mmio:0"), which is there on few machines.
    for zone in sorted(folder.glob("*rapl*:*"), key=lambda zone: ("mmio" in zone.name, zone.name)):
        # "intel-rapl:0" is a zone; "intel-rapl:0:1" is within it, and Linux lists it beside it.
        if zone.name.count(":") == 1 and (zone / "energy_uj").exists():
            name_file = zone / "name"
            name = name_file.read_text(encoding="utf-8").strip() if name_file.exists() else ""
            if name.startswith("package"):
                found.setdefault(name, zone)
    return found


def _driver_name(device: str, visible: str | None) -> str:
    """Return the number or identifier by which the driver knows one of torch's GPUs."""
    number = device.partition(":")[2] or "0"
    if not visible:
        return number
    names = [name.strip() for name in visible.split(",")]
    if int(number) >= len(names):
        raise MeasurementError("A GPU is visible.", given=f"{device} with CUDA_VISIBLE_DEVICES={visible}")
    return names[int(number)]


def _sources(device: str, powercap: Path) -> Sequence[tuple[str, Callable[[], EnergyMeter]]]:
    kind = device.partition(":")[0]
    if kind == "cuda":
        return (("NVML", lambda: nvml_meter(device)), ("Zeus", lambda: zeus_meter(device)))
    if kind == "cpu":
        return (
            ("RAPL", lambda: rapl_meter(powercap)),
            ("Zeus", lambda: zeus_meter(device)),
            ("CodeCarbon", codecarbon_meter),
        )
    return ()
