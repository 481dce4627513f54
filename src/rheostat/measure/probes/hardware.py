"""What this machine is, what it can measure, and how fast it multiplies matrices."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from rheostat.core.errors import MeasurementError
from rheostat.core.machine import machine_facts
from rheostat.measure.probes.energy import POWERCAP, energy_meter
from rheostat.measure.probes.probe import Unavailable

__all__ = [
    "Device",
    "Instruments",
    "Threads",
    "devices",
    "instruments",
    "machine",
    "matrix_product_rate",
    "processor_abilities",
    "synchroniser",
    "threads",
]

_POWERCAP = POWERCAP


@dataclass(frozen=True, slots=True)
class Device:
    """A device that models can run on.

    Attributes:
        name: As torch spells it: ``cpu``, ``cuda:0``, ``mps``.
        description: What people call it.
        memory_bytes: Its memory; None where unknown.
    """

    name: str
    description: str
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Threads:
    """Threads that torch uses on the CPU: within one operation, and between operations."""

    within: int
    between: int


@dataclass(frozen=True, slots=True)
class Instruments:
    """What can be measured here.

    Attributes:
        time: How wall-clock time is taken.
        energy: Names of energy counters that can be read (``rapl:package-0``, ``nvml``); empty where none
            can.
        energy_reason: Why there is none; None where there is one.
        device_memory: Whether peak memory of an accelerator can be read.
        energy_source: What energy is measured by, see `rheostat.measure.probes.energy_meter`; None where it cannot
            be measured. It may be an estimate where there is no counter.
    """

    time: str
    energy: tuple[str, ...]
    energy_reason: str | None
    device_memory: bool
    energy_source: str | None = None


def machine(device: torch.device | str | None = None) -> dict[str, Any]:
    """Return `rheostat.core.machine.machine_facts` with what torch alone knows.

    Args:
        device: Where the model runs; the CPU by default.

    Returns:
        The facts, with ``device`` (``cpu``, ``cuda``, ``mps``), ``device_name`` on an accelerator, and
        ``torch_threads``, the threads torch uses within one operation on the CPU.
    """
    where = torch.device(device or "cpu")
    facts = machine_facts()
    facts["torch_threads"] = threads().within
    facts["device"] = where.type
    if where.type != "cpu":
        facts["device_name"] = torch.cuda.get_device_name(where) if where.type == "cuda" else where.type
    return facts


def devices() -> tuple[Device, ...]:
    """Return the devices that torch can use here, the CPU first."""
    facts = machine_facts()
    found = [Device("cpu", str(facts["cpu"]), facts["memory_bytes"])]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        found.append(Device(f"cuda:{index}", properties.name, properties.total_memory))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU", None))
    return tuple(found)


def threads() -> Threads:
    """Return how many threads torch uses now."""
    return Threads(torch.get_num_threads(), torch.get_num_interop_threads())


def processor_abilities() -> dict[str, str | bool]:
    """Return what torch and this processor offer: ``vector`` (AVX2 ...), ``mkl``, ``onednn``, ``cuda``."""
    return {
        "vector": torch.backends.cpu.get_cpu_capability(),
        "mkl": torch.backends.mkl.is_available(),
        "onednn": bool(torch.backends.mkldnn.is_available()),
        "cuda": torch.version.cuda or False,
    }


def instruments() -> Instruments:
    """Return what can be measured on this machine."""
    counters = (*_rapl_counters(_POWERCAP), *(("nvml",) if _nvml_works() else ()))
    reason = None if counters else _why_no_energy(_POWERCAP)
    meter = energy_meter("cuda" if torch.cuda.is_available() else "cpu", powercap=_POWERCAP)
    return Instruments(
        time="wall clock, median of alternating pairs",
        energy=counters,
        energy_reason=reason,
        device_memory=torch.cuda.is_available(),
        energy_source=None if isinstance(meter, Unavailable) else f"{meter.source} ({meter.provenance})",
    )


def matrix_product_rate(
    size: int = 1024,
    *,
    repeats: int = 5,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> float:
    """Return the median rate of square matrix products, in 10^9 floating-point operations a second.

    Args:
        size: Rows and columns; at least 1.
        repeats: Timed products; at least 1. One more runs beforehand.
        device: Where to multiply.
        dtype: Of the matrices.

    Raises:
        MeasurementError: If ``size`` or ``repeats`` is below 1.
    """
    if size < 1 or repeats < 1:
        raise MeasurementError("A probe multiplies at least once.", given=f"size {size}, repeats {repeats}")
    left = torch.ones((size, size), device=device, dtype=dtype)
    wait = synchroniser(torch.device(device)) or (lambda: None)
    seconds = []
    for _ in range(repeats + 1):
        wait()
        start = time.perf_counter()
        torch.mm(left, left)
        wait()
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / median(seconds[1:]) / 1e9


def synchroniser(device: torch.device) -> Callable[[], None] | None:
    """Return what waits until a device has done its work; None on the CPU, which never lags behind."""
    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return torch.mps.synchronize if device.type == "mps" else None


def _rapl_counters(folder: Path) -> tuple[str, ...]:
    readable = [path for path in sorted(folder.glob("*rapl:*/energy_uj")) if os.access(path, os.R_OK)]
    return tuple(f"rapl:{_zone_name(path.parent)}" for path in readable)


def _zone_name(zone: Path) -> str:
    try:
        return (zone / "name").read_text(encoding="utf-8").strip()
    except OSError:
        return zone.name


def _why_no_energy(folder: Path) -> str:
    if any(folder.glob("*rapl:*/energy_uj")):
        return f"the energy counters under {folder} are only readable by root"
    return "the processor shows no energy counter (usual in containers and virtual machines)"


def _nvml_works() -> bool:
    if not torch.cuda.is_available() or importlib.util.find_spec("pynvml") is None:
        return False
    try:
        return torch.cuda.power_draw() >= 0
    except (RuntimeError, ImportError, ValueError):
        return False
