"""One process with one loaded model, in which many settings are measured, each in turn with a reference."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rheostat.core.efficiency import Energy
from rheostat.core.errors import MeasurementError, SettingError
from rheostat.core.workload import Workload
from rheostat.measure.bench.process import MeasuredProcess, WorkError
from rheostat.measure.bench.session import Found, Texts
from rheostat.measure.probes.meter import EnergyMeter
from rheostat.measure.probes.probe import DeviceMemory, Probe, ResidentMemory
from rheostat.measure.probes.sampler import Sampler
from rheostat.search.trainings import COMMAND

__all__ = ["Reference", "Setting", "SettingMethod", "Sitting", "Taken", "measured"]

_INTERVAL = 0.01
_HERE = "setting"
_OTHER = "reference"
_SCALES = 5


@dataclass(frozen=True, slots=True)
class SettingMethod:
    """How settings of a loaded model are measured.

    Attributes:
        rounds: How often a setting and the reference take turns; at least 3.
        rows: Rows that a setting runs in a turn, at least, the same ones for every batch size that divides it.
        round_seconds: Least time of a setting's turn; less work is repeated within it.
        time_limit: Most seconds of one configuration: loading, judging and measuring, without its training.
        memory_limit: Most bytes of resident memory of the process; None for nine tenths of the machine's.
        device: Where the model runs.
        judged_batch: Rows of a batch while quality is judged; it does not matter for the answers.

    Raises:
        SettingError: If a number is out of range.
    """

    rounds: int = 4
    rows: int = 16
    round_seconds: float = 0.05
    time_limit: float = 600.0
    memory_limit: int | None = None
    device: str = "cpu"
    judged_batch: int = 16

    def __post_init__(self) -> None:
        for name, least in (("rounds", 3), ("rows", 1), ("judged_batch", 1)):
            if getattr(self, name) < least:
                raise SettingError(f"{name} is at least {least}.", given=getattr(self, name))
        for name in ("round_seconds", "time_limit"):
            if not getattr(self, name) > 0:
                raise SettingError(f"{name} is above 0.", given=getattr(self, name))


@dataclass(frozen=True, slots=True)
class Setting:
    """How a loaded model is turned and run.

    Attributes:
        dials: Dial to value; those left out are at neutral.
        batch: Rows of a request.
        threads: Threads of torch; None for its own choice.
    """

    dials: Mapping[str, float]
    batch: int
    threads: int | None = None


class Sitting:
    """A process that holds one model with its knobs set.

    Args:
        source: The model or bundle.
        knobs: Knobs, and dials that will be turned, at neutral.
        workload: What is run.
        texts: What it reads.
        method: How.

    Raises:
        WorkError: If the model cannot be loaded; the process is gone then.
    """

    def __init__(
        self, source: str, knobs: Mapping[str, Any], workload: Workload, texts: Texts, method: SettingMethod
    ) -> None:
        self.source, self.knobs, self._method = source, dict(knobs), method
        self._process = MeasuredProcess(method.memory_limit, command=COMMAND)
        self.grant()
        try:
            self.loaded = self.ask(
                "load",
                source=source,
                configuration=self.knobs,
                workload=workload.to_json(),
                classes=texts.classes,
                device=method.device,
                timed=None if texts.timed is None else str(texts.timed),
            )
        except BaseException:
            self.close()
            raise

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._process.alive

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def grant(self) -> None:
        """Give it the time for a configuration from now on."""
        self._deadline = time.monotonic() + self._method.time_limit

    def ask(self, order: str, **values: Any) -> dict[str, Any]:
        """Give an order within the time that is left.

        Raises:
            WorkError: If it fails, takes too long, or takes too much memory.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            self.close()
            raise WorkError("timed-out", f"it took longer than {self._method.time_limit:.0f} s")
        return self._process.ask(order, left, **values)

    def judge(self, dials: Mapping[str, float], rows: Path, count: int | None) -> dict[str, Any]:
        """Return the answers to rows at a setting of the dials, as plain data.

        Args:
            dials: The dials; those left out are at neutral.
            rows: A split as JSON.
            count: Windows of a language model; None for all rows.

        Raises:
            WorkError: If it fails.
        """
        reply = self.ask("judge", dials=dict(dials), rows=str(rows), count=count, batch=self._method.judged_batch)
        return dict(reply["answers"])

    def prepare(self, name: str, setting: Setting) -> dict[str, Any]:
        """Turn to a setting under a name, warm up, and find its peak of memory."""
        requests = max(1, self._method.rows // setting.batch)
        return self.ask(
            "prepare",
            name=name,
            dials=dict(setting.dials),
            batch=setting.batch,
            threads=setting.threads,
            requests=requests,
        )


class Reference:
    """What settings take turns with: the plain model at one setting, of which a turn is one row alone.

    How many times as long a row of a whole batch takes is found once, at the beginning: turns stay short.

    Args:
        sitting: Where it runs; settings of the same sitting take turns with it in one process.
        setting: Its setting.

    Raises:
        WorkError: If it cannot run.
    """

    def __init__(self, sitting: Sitting, setting: Setting) -> None:
        self.sitting = sitting
        rows = sum(sitting.prepare(_OTHER, setting)["rows"])
        # In turn, so that a slow moment of the machine does not count for one of them alone.
        scales = []
        for _ in range(_SCALES):
            (whole,) = sitting.ask("turn", name=_OTHER, short=False, passes=1)["passes"]
            scales.append(sum(one["latency"] for one in whole) / rows / self._row())
        self._scale: float = median(scales)

    def seconds(self) -> float:
        """Take a turn; return the seconds that a row takes in a batch of the setting.

        Raises:
            WorkError: If it fails.
        """
        return self._row() * self._scale

    def _row(self) -> float:
        ((row,),) = self.sitting.ask("turn", name=_OTHER, short=True, passes=1)["passes"]
        return float(row["latency"])


@dataclass(frozen=True, slots=True)
class Taken:
    """What a setting took.

    Attributes:
        found: Raw findings, as a bench has them.
        processor: Processor seconds of a row, all threads together, turn by turn.
        energy: Energy of each turn that could be read.
    """

    found: Found
    processor: list[float] = field(default_factory=list)
    energy: list[Energy] = field(default_factory=list)


def measured(
    sitting: Sitting, setting: Setting, reference: Reference | None, method: SettingMethod, meter: EnergyMeter | None
) -> Taken:
    """Measure a setting in turn with a reference, the order swapped from round to round.

    Args:
        sitting: Where it runs.
        setting: The setting.
        reference: What it takes turns with; None for nothing.
        method: How.
        meter: Reads energy over the setting's turns; None where nothing can be read.

    Raises:
        WorkError: If it fails.
    """
    prepared = sitting.prepare(_HERE, setting)
    taken = Taken(_begun(sitting.loaded, prepared))
    rows = sum(prepared["rows"])
    passes = max(1, math.ceil(method.round_seconds / sum(prepared["times"])))
    for number in range(method.rounds):
        first = _other(reference, sitting) if number % 2 == 0 else None
        mine = _turn(sitting, taken, passes, method, meter) / rows
        other = first if number % 2 == 0 else _other(reference, sitting)
        if other is not None:
            taken.found.ratios.append(mine / other)
    if len(taken.energy) == method.rounds:
        taken.found.energy = Energy(sum(one.joules for one in taken.energy), sum(one.seconds for one in taken.energy))
    return taken


def _other(reference: Reference | None, sitting: Sitting) -> float | None:
    """Return the reference's seconds a row; None where there is none, or its own process has stopped."""
    try:
        return None if reference is None or not reference.sitting.alive else reference.seconds()
    except WorkError:
        if reference is not None and reference.sitting is sitting:
            raise
        return None


def _begun(loaded: Mapping[str, Any], prepared: Mapping[str, Any]) -> Found:
    # The peak of the whole life is that of loading or that of running; other settings of the process do not count.
    peaks = [loaded["peak"], prepared["peak"]]
    life = None if None in peaks else max(peaks)
    described = {name: prepared[name] for name in ("rows", "tokens", "macs", "cache")}
    return Found(
        # What stays resident is what the next settings find, too.
        loaded={**loaded, "resident_after": prepared["resident"], "threads": prepared["threads"]},
        warmed={"first_call": prepared["times"][0], "times": prepared["times"]},
        described={**described, **{name: loaded[name] for name in ("weights", "parameters", "bits", "report")}},
        peaks=(life, prepared["peak"]),
    )


def _turn(sitting: Sitting, taken: Taken, passes: int, method: SettingMethod, meter: EnergyMeter | None) -> float:
    """Run a turn under the instruments; return its seconds for a pass over all requests."""
    found = taken.found
    probes: list[Probe] = [ResidentMemory(sitting.pid)]
    if method.device.startswith("cuda"):
        probes.append(DeviceMemory(sitting.pid))
    if meter is not None:
        meter.start()
    with Sampler(probes, _INTERVAL) as sampler:
        reply = sitting.ask("turn", name=_HERE, short=False, passes=passes)
    if meter is not None:
        # A turn may be shorter than the meter's step: then there is no energy, and the rest counts.
        with suppress(MeasurementError):
            taken.energy.append(Energy(meter.stop(), sampler.elapsed))
    found.busy_seconds += reply["processor"]
    taken.processor.append(reply["processor"] / (passes * sum(found.described["rows"])))
    found.memory.append(sampler.trace(probes[0].name))
    found.device_memory += [sampler.trace(probe.name) for probe in probes[1:]]
    found.ticks = (found.ticks[0] + sampler.ticks_wanted, found.ticks[1] + sampler.ticks_taken)
    found.turns.append(reply["passes"])
    found.faults.append(reply["faults"])
    found.touched = (found.touched[0] + reply["touched"][0], found.touched[1] + reply["touched"][1])
    found.turn_seconds.append(reply["seconds"])
    return float(median(sum(one["latency"] for one in requests) for requests in reply["passes"]))
