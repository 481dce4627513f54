"""Instruments that read one number each, of this process or of another one."""

from __future__ import annotations

import abc
import ctypes
import mmap
import os
import re
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from rheostat.core.errors import MeasurementError
from rheostat.core.extras import require
from rheostat.measure.probes.nvml import open_nvml

__all__ = [
    "DeviceMemory",
    "PeakResidentMemory",
    "Probe",
    "ProcessorTime",
    "Provenance",
    "ResidentMemory",
    "Unavailable",
]

Provenance = Literal["counter", "sampled", "estimated"]

_PROC: Final = Path("/proc")
_KIB: Final = 1024
_PAGE: Final = mmap.PAGESIZE
_MOST: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Something that cannot be measured here.

    Attributes:
        reason: Why, in a few words.
    """

    reason: str


class Probe(abc.ABC):
    """One instrument. A read is quick (microseconds) and disturbs nothing.

    Attributes:
        name: Of what is read, for instance ``memory_resident``; unique within a sampler.
        unit: SI unit of the reading: ``B``, ``s``, ``W``.
        provenance: Whether readings come off a counter, are samples of what varies, or are estimates.
        source: Where from, in a few words: ``VmHWM``.
    """

    name: str
    unit: str
    provenance: Provenance
    source: str

    @abc.abstractmethod
    def read(self) -> float:
        """Return the reading now, in `unit`.

        Raises:
            MeasurementError: If it cannot be read now, for instance because the process has ended.
        """


class ResidentMemory(Probe):
    """Resident memory of a process now, in bytes, shared pages included.

    Args:
        pid: The process; this one where None.
        proc: The folder of Linux' process files; psutil is asked where there is none.

    Raises:
        MeasurementError: If there is no such process.
    """

    name, unit = "memory_resident", "B"
    provenance: Provenance = "sampled"

    def __init__(self, pid: int | None = None, *, proc: Path = _PROC) -> None:
        self.pid = os.getpid() if pid is None else pid
        self._file = _OpenFile(self.pid, proc / str(self.pid) / "statm") if (proc / "self").exists() else None
        self._other: Any = _psutil_process(self.pid) if self._file is None else None
        self.source = "psutil" if self._file is None else "statm"
        self.read()

    def read(self) -> float:
        """Return resident bytes."""
        if self._file is None:
            process = self._other
            return float(_ask(self.pid, lambda: process.memory_info().rss))
        return float(int(self._file.read().split()[1]) * _PAGE)


class PeakResidentMemory(Probe):
    """Most resident memory that a process ever had, in bytes: the system's own high-water mark, no sampling.

    It is what ``/usr/bin/time -v`` reports as maximum resident set size when the process ends. That number
    (``ru_maxrss``) also holds what the parent had resident when it started the process, which is little for
    ``time`` and much for a Python process with torch in it; the high-water mark does not.

    Args:
        pid: The process; this one where None.
        proc: The folder of Linux' process files.

    Raises:
        MeasurementError: If there is no such process, or the system keeps no mark of other processes.
    """

    name, unit = "memory_peak", "B"
    provenance: Provenance = "counter"
    source = "VmHWM"

    def __init__(self, pid: int | None = None, *, proc: Path = _PROC) -> None:
        self.pid = os.getpid() if pid is None else pid
        if not (proc / "self").exists():
            raise MeasurementError(
                "Peak memory of a process is read from Linux' process files.",
                given=sys.platform,
                mend="Sample resident memory instead, and take its peak.",
            )
        self._folder = proc / str(self.pid)
        self._file = _OpenFile(self.pid, self._folder / "status")
        self.read()

    def read(self) -> float:
        """Return the most resident bytes since the process started, or since `reset`."""
        found = re.search(rb"^VmHWM:\s*(\d+) kB$", self._file.read(), re.MULTILINE)
        if found is None:
            # A process that has ended but is not yet waited for has no memory entries.
            raise _ended(self.pid)
        return float(int(found[1]) * _KIB)

    def reset(self) -> bool:
        """Start anew from what is resident now, and say whether the system allowed it.

        From then on ``/usr/bin/time -v`` misses what came before, too.
        """
        try:
            # "5" resets the mark: https://docs.kernel.org/filesystems/proc.html
            (self._folder / "clear_refs").write_text("5")
        except OSError:
            return False
        return True


class ProcessorTime(Probe):
    """Processor time of a process with all its threads, user and system, in seconds since it started.

    Args:
        pid: The process; this one where None.

    Raises:
        MeasurementError: If there is no such process.
    """

    name, unit = "processor_time", "s"
    provenance: Provenance = "counter"

    def __init__(self, pid: int | None = None) -> None:
        self.pid = os.getpid() if pid is None else pid
        self._clock = _processor_clock(self.pid)
        self._other: Any = _psutil_process(self.pid) if self._clock is None else None
        self.source = "psutil" if self._clock is None else "process clock"
        self.read()

    def read(self) -> float:
        """Return seconds of processor time."""
        clock, process = self._clock, self._other
        if clock is not None:
            return float(_ask(self.pid, lambda: time.clock_gettime(clock)))
        used = _ask(self.pid, lambda: process.cpu_times())
        return float(used.user + used.system)


class DeviceMemory(Probe):
    """Memory of NVIDIA GPUs that a process holds, its context and its allocator's reserve included, in bytes.

    The driver is asked, so any process can be read; torch knows its own process only.

    Args:
        pid: The process; this one where None.
        library: Stands in for the NVML bindings.

    Raises:
        MeasurementError: If NVML cannot be used here.
    """

    name, unit = "memory_device", "B"
    provenance: Provenance = "sampled"
    source = "NVML"

    def __init__(self, pid: int | None = None, *, library: Any = None) -> None:
        self.pid = os.getpid() if pid is None else pid
        self._nvml = open_nvml() if library is None else library
        count = self._nvml.nvmlDeviceGetCount()
        self._devices = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]

    def read(self) -> float:
        """Return the process' bytes on all GPUs together.

        Raises:
            MeasurementError: If the driver lists no such process (it holds no memory yet, or runs in a container,
                where the driver numbers processes in its own way), or tells nothing about single processes.
        """
        try:
            listed = [
                one for device in self._devices for one in self._nvml.nvmlDeviceGetComputeRunningProcesses(device)
            ]
        except self._nvml.NVMLError as error:
            raise MeasurementError("NVML lists the processes on a GPU.", given=error) from error
        used = [one.usedGpuMemory for one in listed if one.pid == self.pid]
        if not used:
            raise MeasurementError(
                "The driver lists the processes that hold GPU memory, by its own numbers.", given=f"process {self.pid}"
            )
        if None in used:
            raise MeasurementError("The driver tells how much memory a single process holds.", given="nothing")
        return float(sum(used))


class _OpenFile:
    """One of Linux' process files, kept open.

    A read takes 1 to 7 microseconds instead of 12 to 30, and never meets a later process of the same number.
    """

    def __init__(self, pid: int, path: Path) -> None:
        self._pid = pid
        self._descriptor: int = _ask(pid, lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        weakref.finalize(self, os.close, self._descriptor)

    def read(self) -> bytes:
        content: bytes = _ask(self._pid, lambda: os.pread(self._descriptor, _MOST, 0))
        if not content:
            raise _ended(self._pid)
        return content


def _processor_clock(pid: int) -> int | None:
    """Return the system's clock of a process' processor time, in nanoseconds; None where it has none to give."""
    try:
        ask = ctypes.CDLL(None).clock_getcpuclockid
    except (AttributeError, OSError, TypeError):
        return None
    clock = ctypes.c_int()
    if ask(ctypes.c_int(pid), ctypes.byref(clock)) != 0:
        raise _ended(pid)
    return clock.value


def _psutil_process(pid: int) -> Any:
    return _ask(pid, lambda: _psutil().Process(pid))


def _psutil() -> Any:
    return require("psutil", extra="energy")


def _ask(pid: int, question: Callable[[], Any]) -> Any:
    try:
        return question()
    except OSError as error:
        raise _ended(pid) from error
    except Exception as error:
        # psutil's errors have no class to name without importing it.
        if type(error).__module__.startswith("psutil"):
            raise _ended(pid) from error
        raise


def _ended(pid: int) -> MeasurementError:
    return MeasurementError("A process is measured while it runs.", given=f"process {pid}, which has ended")
