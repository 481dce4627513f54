"""One configuration in turn with the plain model, each in its own process."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rheostat.core.comparison import is_known
from rheostat.core.efficiency import Energy
from rheostat.core.traces import Trace
from rheostat.core.workload import Method, Workload
from rheostat.measure.bench.process import MeasuredProcess, WorkError
from rheostat.measure.probes.meter import EnergyMeter
from rheostat.measure.probes.probe import DeviceMemory, PeakResidentMemory, Probe, ProcessorTime, ResidentMemory
from rheostat.measure.probes.sampler import Sampler

__all__ = ["Case", "Found", "Party", "Texts", "joined", "take_more_turns", "take_turns"]

_INTERVAL = 0.01


@dataclass(frozen=True, slots=True)
class Texts:
    """Where the measured processes read their texts.

    Attributes:
        timed: A split as JSON that requests are made of; None for random tokens.
        judged: A split as JSON that quality is judged on; None where it is not.
        classes: How many classes there are; None for running texts.
    """

    timed: Path | None = None
    judged: Path | None = None
    classes: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: a model under a configuration on a workload.

    Attributes:
        source: A bundle's folder or a model, as people name it.
        configuration: Knobs and dials.
        workload: What is run.
    """

    source: str
    configuration: Mapping[str, Any]
    workload: Workload


@dataclass(slots=True)
class Found:
    """Raw findings on one party, in one sitting or over several.

    Attributes:
        loaded: Reply to ``load``.
        warmed: Reply to ``warm``.
        described: Reply to ``describe``.
        answers: Reply to ``judge``; None where quality was not judged.
        tasks: Reply to ``tasks``: metrics as plain data.
        turns: For each round the passes, each a list of seconds by phase, one a request.
        faults: Pages of memory that the process was given in each turn.
        touched: Rows and tokens of the untimed requests that turns start with.
        turn_seconds: Wall-clock seconds of each turn, those requests included.
        memory: Trace of resident memory of each turn.
        device_memory: Trace of the process's memory on an accelerator of each turn; empty on the processor.
        ratios: For each round this party's time over the plain model's.
        busy_seconds: Processor time over all turns.
        energy: Energy over all turns; None where it cannot be read.
        peaks: Most resident bytes in the life of the process, and after warm-up; None where unknown.
        ticks: Readings of memory that were due, and those taken in time, over all turns.
    """

    loaded: dict[str, Any] = field(default_factory=dict)
    warmed: dict[str, Any] = field(default_factory=dict)
    described: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Any] | None = None
    tasks: dict[str, Any] = field(default_factory=dict)
    turns: list[list[list[dict[str, float]]]] = field(default_factory=list)
    touched: tuple[int, int] = (0, 0)
    faults: list[int] = field(default_factory=list)
    turn_seconds: list[float] = field(default_factory=list)
    memory: list[Trace] = field(default_factory=list)
    device_memory: list[Trace] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    busy_seconds: float = 0.0
    energy: Energy | None = None
    peaks: tuple[float | None, float | None] = (None, None)
    ticks: tuple[int, int] = (0, 0)


class Party:
    """A case in its own process, ready to take turns; in another sitting, in another process.

    Args:
        case: What it measures.
        method: How.
        texts: What it reads.

    Attributes:
        sittings: The findings of each sitting so far.
    """

    def __init__(self, case: Case, method: Method, texts: Texts) -> None:
        self.case, self._method, self._texts = case, method, texts
        self.sittings: list[Found] = []
        self._process: MeasuredProcess | None = None
        self._deadline = math.inf
        self._passes = 1

    def start(self) -> None:
        """Begin a sitting: start a process, load and warm up; in the first one count and judge quality, too.

        Raises:
            WorkError: If one of these fails; the process is gone then.
        """
        self.stop()
        self.grant(self._method.time_limit)
        self._process = MeasuredProcess(self._method.memory_limit, self._method.threads)
        try:
            self._prepare()
        except BaseException:
            self.stop()
            raise

    @property
    def found(self) -> Found:
        """The findings of this sitting; empty before the first."""
        return self.sittings[-1] if self.sittings else Found()

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.close()
            self._process = None

    def grant(self, seconds: float) -> None:
        """Give it so many seconds from now on."""
        self._deadline = time.monotonic() + seconds

    @property
    def running(self) -> bool:
        """Whether it can take turns."""
        return self._process is not None and self._process.alive

    @property
    def process(self) -> MeasuredProcess:
        """The process.

        Raises:
            WorkError: If there is none any more.
        """
        if self._process is None:
            raise WorkError("failed", "its process has ended")
        return self._process

    def ask(self, order: str, **values: Any) -> dict[str, Any]:
        """Give an order within the time that is left."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            self.stop()
            raise WorkError("timed-out", f"it took longer than {self._method.time_limit:.0f} s")
        return self.process.ask(order, left, **values)

    def turn(self, meter: EnergyMeter | None) -> float:
        """Run a turn under the instruments; return its seconds for a pass over all requests.

        The median over the turn's passes is taken: what disturbs one pass does not disturb the round.
        """
        pid = self.process.pid
        probes: list[Probe] = [ResidentMemory(pid)]
        if self._method.device.startswith("cuda"):
            probes.append(DeviceMemory(pid))
        clock = ProcessorTime(pid)
        before = clock.read()
        if meter is not None:
            meter.start()
        with Sampler(probes, _INTERVAL) as sampler:
            reply = self.ask("turn", passes=self._passes)
        if meter is not None:
            self._add_energy(meter.stop(), sampler.elapsed)
        found = self.found
        found.busy_seconds += clock.read() - before
        found.memory.append(sampler.trace(probes[0].name))
        found.device_memory += [sampler.trace(probe.name) for probe in probes[1:]]
        found.ticks = (found.ticks[0] + sampler.ticks_wanted, found.ticks[1] + sampler.ticks_taken)
        found.turns.append(reply["passes"])
        found.faults.append(reply["faults"])
        found.touched = (found.touched[0] + reply["touched"][0], found.touched[1] + reply["touched"][1])
        found.turn_seconds.append(sampler.elapsed)
        return _median([sum(one["latency"] for one in requests) for requests in reply["passes"]])

    def run_tasks(self, tasks: Mapping[str, Any]) -> None:
        """Let it do tasks of lm-evaluation-harness."""
        self.found.tasks = self.ask("tasks", tasks=dict(tasks))["metrics"]

    def read_peaks(self) -> None:
        """Read the peaks of resident memory, before the process ends."""
        now = PeakResidentMemory(self.process.pid).read()
        earlier = self.found.warmed.get("peak")
        reset = self.found.warmed["peak_reset"]
        self.found.peaks = (max(now, earlier or now), now if reset else None)

    def _prepare(self) -> None:
        case, method, found = self.case, self._method, Found()
        paths = {"timed": self._texts.timed, "judged": self._texts.judged}
        found.loaded = self.ask(
            "load",
            source=case.source,
            configuration=dict(case.configuration),
            workload=case.workload.to_json(),
            classes=self._texts.classes,
            device=method.device,
            **{name: None if path is None else str(path) for name, path in paths.items()},
        )
        # What does not depend on time is found once, and before timing.
        first = self.sittings[0] if self.sittings else None
        found.described = self.ask("describe") if first is None else first.described
        if self._texts.judged is not None:
            found.answers = self.ask("judge")["answers"] if first is None else first.answers
        found.warmed = self.ask(
            "warm", requests=method.warmup_requests, settled=method.settled, seconds=method.warmup_seconds
        )
        if first is None:
            one = _median(found.warmed["times"])
            timed = method.rounds * case.workload.different
            self._passes = max(1, math.ceil(method.round_seconds / one), math.ceil(method.iterations / timed))
        self.sittings.append(found)

    def _add_energy(self, joules: float, seconds: float) -> None:
        earlier = self.found.energy or Energy(0.0, 1e-12)
        self.found.energy = Energy(earlier.joules + joules, earlier.seconds + seconds)


def take_turns(party: Party, plain: Party | None, rounds: Sequence[int], meter: EnergyMeter | None) -> None:
    """Let two parties run in turn, the order swapped from round to round; the ratios are the party's findings.

    Args:
        party: What is measured; started.
        plain: What it is compared with; started. None where the plain model cannot run.
        rounds: The numbers of the rounds.
        meter: Reads energy over the party's turns; None where nothing can be read.

    Raises:
        WorkError: If one of them fails.
    """
    for round_number in rounds:
        order: Sequence[Party] = [one for one in (plain, party) if one is not None]
        seconds = {}
        # Whoever runs second finds a warmer chip: each is second half of the time.
        for one in order if round_number % 2 == 0 else order[::-1]:
            seconds[id(one)] = _turn_of_plain(one) if one is plain else one.turn(meter)
        if plain is not None:
            party.found.ratios.append(seconds[id(party)] / seconds[id(plain)])


def take_more_turns(party: Party, plain: Party | None, most: int, meter: EnergyMeter | None) -> None:
    """Let two parties run in turn until their ratio is known, or ``most`` rounds of all sittings are over."""
    earlier = [ratio for one in party.sittings[:-1] for ratio in one.ratios]
    while plain is not None and len(ratios := [*earlier, *party.found.ratios]) < most:
        if is_known(ratios):
            return
        take_turns(party, plain, [len(ratios)], meter)


def joined(sittings: Sequence[Found]) -> Found:
    """Return the findings of several sittings of one party as if they were one.

    What is found once in a sitting is averaged over them, of peaks the greatest is taken.
    """
    first = sittings[0]
    if len(sittings) == 1:
        return first
    return Found(
        loaded={**first.loaded, **_means(sittings, "loaded", ("load_time", "resident_before", "resident_after"))},
        warmed={**first.warmed, **_means(sittings, "warmed", ("first_call",))},
        described=first.described,
        answers=first.answers,
        tasks={name: value for one in sittings for name, value in one.tasks.items()},
        turns=[turn for one in sittings for turn in one.turns],
        touched=(sum(one.touched[0] for one in sittings), sum(one.touched[1] for one in sittings)),
        faults=[count for one in sittings for count in one.faults],
        turn_seconds=[seconds for one in sittings for seconds in one.turn_seconds],
        memory=[trace for one in sittings for trace in one.memory],
        device_memory=[trace for one in sittings for trace in one.device_memory],
        ratios=[ratio for one in sittings for ratio in one.ratios],
        busy_seconds=sum(one.busy_seconds for one in sittings),
        energy=_energy([one.energy for one in sittings if one.energy is not None]),
        peaks=(_greatest([one.peaks[0] for one in sittings]), _greatest([one.peaks[1] for one in sittings])),
        ticks=(sum(one.ticks[0] for one in sittings), sum(one.ticks[1] for one in sittings)),
    )


def _means(sittings: Sequence[Found], reply: str, names: Sequence[str]) -> dict[str, float | None]:
    values = {name: [getattr(one, reply)[name] for one in sittings] for name in names}
    return {name: None if None in found else sum(found) / len(found) for name, found in values.items()}


def _energy(parts: Sequence[Energy]) -> Energy | None:
    if not parts:
        return None
    return Energy(sum(part.joules for part in parts), sum(part.seconds for part in parts))


def _greatest(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if len(known) == len(values) else None


def _turn_of_plain(plain: Party) -> float:
    try:
        return plain.turn(None)
    except WorkError as failure:
        raise WorkError("failed", f"the plain model beside it stopped: {failure.reason}") from failure


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
