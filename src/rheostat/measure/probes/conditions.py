"""What may have disturbed a measurement: other programs, the clock of the processor, the settings of threads."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from rheostat.core.errors import MeasurementError
from rheostat.core.machine import machine_facts
from rheostat.measure.probes.hardware import threads
from rheostat.measure.probes.probe import ProcessorTime

__all__ = ["BUSY", "Conditions", "ConditionsWatch", "joined_conditions"]

BUSY: Final = 0.10
"""Share of the processors' time that others may use before a reader is warned."""

_PROC: Final = Path("/proc")
_SYSTEM: Final = Path("/sys")
_BUSY_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


@dataclass(frozen=True, slots=True)
class Conditions:
    """The machine while a measurement ran. What the system does not tell is None.

    Attributes:
        seconds: How long it ran.
        processors: Processors of the machine.
        load_before: Processes that ran or wanted to, mean of the last minute, at the start.
        load_after: The same at the end.
        clock_before: Mean clock of the processors in Hz, at the start.
        clock_after: The same at the end.
        others: Share of all processors' time that programs other than the measured ones used, from 0 to 1.
        stolen: Share of all processors' time that the host gave to other virtual machines.
        threads: ``within`` and ``between``: torch's threads in the process that watches; and the environment
            variables that set thread counts, those that are set.
    """

    seconds: float
    processors: int
    load_before: float | None
    load_after: float | None
    clock_before: float | None
    clock_after: float | None
    others: float | None
    stolen: float | None
    threads: dict[str, Any]

    @property
    def warning(self) -> str | None:
        """What a reader must know; None where the machine was quiet, or tells nothing."""
        disturbed = [
            f"{what} used {share:.0%} of the processors"
            for what, share in (("other programs", self.others), ("other virtual machines", self.stolen))
            if share is not None and share > BUSY
        ]
        if not disturbed:
            return None
        return f"The machine was busy: {' and '.join(disturbed)} while this ran. Its times may be too long."

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data, the warning included."""
        return {**asdict(self), "warning": self.warning}


def joined_conditions(parts: Sequence[Conditions]) -> Conditions:
    """Return the conditions of several stretches of time as if they were one: shares are weighted by time.

    Raises:
        MeasurementError: If there are none.
    """
    if not parts:
        raise MeasurementError("Conditions are known when something was watched.", given="nothing")
    first, last = parts[0], parts[-1]
    return replace(
        first,
        seconds=sum(part.seconds for part in parts),
        load_after=last.load_after,
        clock_after=last.clock_after,
        others=_weighted([(part.others, part.seconds) for part in parts]),
        stolen=_weighted([(part.stolen, part.seconds) for part in parts]),
    )


def _weighted(shares: Sequence[tuple[float | None, float]]) -> float | None:
    known = [(share, seconds) for share, seconds in shares if share is not None]
    if len(known) < len(shares):
        return None
    return sum(share * seconds for share, seconds in known) / max(sum(seconds for _, seconds in known), 1e-9)


class ConditionsWatch:
    """Watches the machine while the body of a ``with`` runs.

    Args:
        pids: Processes that are measured, beside this one; their use of the processors, and that of children which
            end meanwhile, is not counted as others'.
        proc: The folder of Linux' process files.
        system: The folder of Linux' device files.

    Example:
        >>> with ConditionsWatch() as watch:
        ...     _ = sum(range(1000))
        >>> watch.conditions.seconds > 0
        True
    """

    def __init__(self, pids: Sequence[int] = (), *, proc: Path = _PROC, system: Path = _SYSTEM) -> None:
        self._pids, self._proc, self._system = tuple(pids), proc, system
        self._before: _Reading | None = None
        self._conditions: Conditions | None = None

    def __enter__(self) -> ConditionsWatch:
        """Read the machine."""
        self._before = self._read()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Read the machine again."""
        assert self._before is not None
        self._conditions = _compare(self._before, self._read())

    @property
    def conditions(self) -> Conditions:
        """What was found.

        Raises:
            MeasurementError: If the body has not ended yet.
        """
        if self._conditions is None:
            raise MeasurementError("Conditions are known when what is watched has ended.")
        return self._conditions

    def _read(self) -> _Reading:
        busy, stolen = _processor_use(self._proc / "stat")
        return _Reading(
            time=time.perf_counter(),
            busy=busy,
            stolen=stolen,
            own=_own_time(self._pids),
            load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            clock=_clock(self._system, self._proc),
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    time: float
    busy: float | None
    stolen: float | None
    own: float
    load: float | None
    clock: float | None


def _compare(before: _Reading, after: _Reading) -> Conditions:
    processors = os.cpu_count() or 1
    seconds = after.time - before.time
    room = processors * seconds
    others = stolen = None
    if before.busy is not None and after.busy is not None and room > 0:
        # The system counts in ticks of 10 ms, so a short run can seem to use more than there was.
        others = min(1.0, max(0.0, (after.busy - before.busy - (after.own - before.own)) / room))
    if before.stolen is not None and after.stolen is not None and room > 0:
        stolen = min(1.0, max(0.0, (after.stolen - before.stolen) / room))
    return Conditions(
        seconds=seconds,
        processors=processors,
        load_before=before.load,
        load_after=after.load,
        clock_before=before.clock,
        clock_after=after.clock,
        others=others,
        stolen=stolen,
        threads={**asdict(threads()), **machine_facts()["threads"]},
    )


def _processor_use(file: Path) -> tuple[float | None, float | None]:
    """Return seconds that all processors together worked, and that the host took away, since the machine started."""
    try:
        first = file.read_text(encoding="utf-8").split("\n", 1)[0].split()
    except OSError:
        return None, None
    ticks = os.sysconf("SC_CLK_TCK")
    # Guests' time is part of the user time that comes first.
    spent = {name: int(value) / ticks for name, value in zip(_BUSY_FIELDS, first[1:], strict=False)}
    busy = sum(spent.get(name, 0.0) for name in ("user", "nice", "system", "irq", "softirq"))
    return busy, spent.get("steal")


def _own_time(pids: Sequence[int]) -> float:
    """Return processor seconds of this process, its children that have ended, and the given ones."""
    used = os.times()
    own = used.user + used.system + used.children_user + used.children_system
    for pid in pids:
        try:
            own += ProcessorTime(pid).read()
        except MeasurementError:
            # It has ended: a child that was waited for is among the children now.
            continue
    return own


def _clock(system: Path, proc: Path) -> float | None:
    """Return the mean clock of the processors in Hz."""
    files = (system / "devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    try:
        kilohertz = [float(file.read_text(encoding="utf-8")) for file in files]
        if kilohertz:
            return statistics.fmean(kilohertz) * 1e3
        lines = (proc / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        return None
    megahertz = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return statistics.fmean(megahertz) * 1e6 if megahertz else None
