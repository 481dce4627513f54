"""Parties, instruments and what is on file, brought together into measurements."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import torch

from rheostat.core.errors import MeasurementError, RheostatError
from rheostat.core.measurement import FILE, Measurement, key_of, read_measurements, write_measurements
from rheostat.core.metrics import Metric
from rheostat.core.prices import PriceTable
from rheostat.core.workload import Data, Method, Workload
from rheostat.measure.answers import Answers
from rheostat.measure.bench.data import check_data, check_labels, digest, written
from rheostat.measure.bench.judging import judged_rows, simple_models
from rheostat.measure.bench.plan import Model, checked_configuration, identify, plain_of
from rheostat.measure.bench.process import WorkError
from rheostat.measure.bench.results import Surroundings, metrics_of
from rheostat.measure.bench.session import Case, Found, Party, Texts, joined, take_more_turns, take_turns
from rheostat.measure.probes import machine
from rheostat.measure.probes.conditions import Conditions, ConditionsWatch, joined_conditions
from rheostat.measure.probes.energy import energy_meter, idle_power
from rheostat.measure.probes.meter import EnergyMeter
from rheostat.measure.probes.peak import machine_peak
from rheostat.measure.probes.probe import Unavailable
from rheostat.measure.quality import agreement, classification_metrics, language_metrics

__all__ = ["BenchOptions", "BenchProgress", "Laboratory"]

_MEMORY_SHARE = 0.9
_IDLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class BenchProgress:
    """How far a bench is.

    Attributes:
        done: Measurements that are there, those of earlier sittings included.
        total: Measurements in all.
        latest: The latest one; None before the first.
        seconds_left: Estimate; None before the first.
    """

    done: int
    total: int
    latest: Measurement | None
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What a bench does beside measuring.

    Attributes:
        out: Folder of the measurements' file: read first, and written after each measurement; what is there is not
            measured again. None keeps nothing.
        fresh: Whether to measure that again, too.
        prices: Prices of an hour of the device.
        progress: Called before the first and after every measurement.
        tasks: Tasks of lm-evaluation-harness, as `rheostat.measure.harness.Tasks` takes them; None for none.
    """

    out: Path | None = None
    fresh: bool = False
    prices: PriceTable = field(default_factory=PriceTable)
    progress: Callable[[BenchProgress], None] = lambda _: None
    tasks: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """A measurement to make."""

    model: Model
    configuration: dict[str, Any]
    workload: dict[str, Any]
    machine: dict[str, Any]

    @property
    def key(self) -> str:
        return key_of(self.model.facts, self.configuration, self.workload, self.machine)

    def record(self, status: Any, **rest: Any) -> Measurement:
        return Measurement(self.model.facts, self.configuration, self.workload, self.machine, status, **rest)


class Laboratory:
    """What all measurements of a bench share."""

    def __init__(self, workload: Workload, data: Data | None, method: Method, options: BenchOptions) -> None:
        check_data(workload, data)
        self._workload, self._data, self._options = workload, data, options
        self._facts = machine(method.device)
        limit = method.memory_limit or int(_MEMORY_SHARE * (self._facts["memory_bytes"] or 0)) or None
        self._method = replace(method, memory_limit=limit)
        self._baselines: dict[str, Any] | None = None

    def run(self, models: Sequence[str], wanted: Sequence[Mapping[str, Any]]) -> list[Measurement]:
        """Measure what is missing; return all."""
        kept = self._kept()
        plans = [self._plan(model, dict(one)) for model in map(identify, models) for one in wanted]
        found = {plan.key: kept[plan.key] for plan in plans if plan.key in kept and not self._options.fresh}
        missing = [plan for plan in plans if plan.key not in found]
        if self._options.out is not None:
            # A folder that cannot be written is found out before the first measurement.
            write_measurements(self._options.out, kept.values())
        self._options.progress(BenchProgress(len(plans) - len(missing), len(plans), None, None))
        start = time.monotonic()
        with contextlib.closing(self._measured(missing)) as measured:
            for done, latest in enumerate(measured, start=1):
                found[latest.key] = kept[latest.key] = latest
                if self._options.out is not None:
                    write_measurements(self._options.out, kept.values())
                left = (time.monotonic() - start) / done * (len(missing) - done)
                self._options.progress(BenchProgress(len(plans) - len(missing) + done, len(plans), latest, left))
        return [found[plan.key] for plan in plans]

    def duel(
        self, a: tuple[str, Mapping[str, Any]], b: tuple[str, Mapping[str, Any]]
    ) -> tuple[Measurement, Measurement]:
        """Measure two in turn with each other.

        Raises:
            MeasurementError: If the first one cannot run.
        """
        first, second = (self._plan(identify(source), checked_configuration(chosen)) for source, chosen in (a, b))
        instruments = _Instruments.of(self._method)
        with written(self._data, self._workload) as texts:
            party = Party(self._case(first, first.configuration), self._method, texts)
            with contextlib.closing(_Reference(party, self._method, first.model.disk)) as reference:
                reason = first.model.shortage(self._method.memory_limit)
                if reason is not None or reference.sit_down() is None:
                    reason = reason or reference.reason
                    raise MeasurementError("The reference of a comparison runs.", given=f"{a[0]}: {reason}")
                check_labels(party.found.loaded["label_names"], self._data)
                other, watched = self._one(second, reference, texts, instruments)
                if other.status != "ok" or watched is None:
                    raise MeasurementError("Both of a comparison run.", given=f"{b[0]}: {other.reason}")
                return self._record(first, party, None, instruments, watched), other

    def _kept(self) -> dict[str, Measurement]:
        if self._options.out is None or not (self._options.out / FILE).exists():
            return {}
        return {one.key: one for one in read_measurements(self._options.out)}

    def _plan(self, model: Model, configuration: dict[str, Any]) -> _Plan:
        described: dict[str, Any] = {**self._workload.to_json(), "method": self._method.to_json()}
        if self._data is not None:
            described["data"] = {"split": self._data.split, "rows": len(self._data.rows), "sha256": digest(self._data)}
        if self._options.tasks is not None:
            described["tasks"] = dict(self._options.tasks)
        return _Plan(model, configuration, described, self._facts)

    def _measured(self, plans: Sequence[_Plan]) -> Generator[Measurement]:
        if not plans:
            return
        instruments = _Instruments.of(self._method)
        with written(self._data, self._workload) as texts:
            for source in dict.fromkeys(plan.model.source for plan in plans):
                mine = [plan for plan in plans if plan.model.source == source]
                case = self._case(mine[0], plain_of(mine[0].configuration, mine[0].model.blocks))
                party = Party(case, self._method, texts)
                with contextlib.closing(_Reference(party, self._method, mine[0].model.disk)) as plain:
                    for plan in mine:
                        yield self._one(plan, plain, texts, instruments)[0]

    def _case(self, plan: _Plan, configuration: Mapping[str, Any]) -> Case:
        return Case(plan.model.source, configuration, self._workload)

    def _one(
        self, plan: _Plan, plain: _Reference, texts: Texts, instruments: _Instruments
    ) -> tuple[Measurement, _Watched | None]:
        """Measure; return the conditions, too, where it ran."""
        if shortage := plan.model.shortage(self._method.memory_limit):
            return plan.record("out-of-memory", reason=shortage), None
        party = Party(self._case(plan, plan.configuration), self._method, texts)
        start = time.monotonic()
        try:
            watched = [self._sitting(party, plain, rounds, instruments) for rounds in self._method.rounds_of_sittings]
            if self._options.tasks is not None:
                party.run_tasks(self._options.tasks)
            seen = _Watched(joined_conditions(watched), time.monotonic() - start)
            return self._record(plan, party, plain, instruments, seen), seen
        except WorkError as failure:
            return plan.record(failure.status, reason=failure.reason), None
        except RheostatError as error:
            return plan.record("failed", reason=str(error)), None
        finally:
            party.stop()

    def _sitting(self, party: Party, plain: _Reference, rounds: Sequence[int], instruments: _Instruments) -> Conditions:
        other = plain.sit_down()
        party.start()
        check_labels(party.found.loaded["label_names"], self._data)
        both = [one for one in (party, other) if one is not None]
        with ConditionsWatch([one.process.pid for one in both]) as watch:
            take_turns(party, other, rounds, instruments.meter)
            if rounds[-1] == self._method.rounds - 1 and self._method.most_rounds is not None:
                take_more_turns(party, other, self._method.most_rounds, instruments.meter)
        for one in both:
            one.read_peaks()
        return watch.conditions

    def _record(
        self,
        plan: _Plan,
        party: Party,
        plain: _Reference | None,
        instruments: _Instruments,
        watched: _Watched,
    ) -> Measurement:
        conditions, seconds = watched.conditions, watched.seconds
        theirs = None if plain is None else plain.answers
        around = Surroundings(
            plain=None if plain is None else plain.found,
            plain_reason="it is the reference" if plain is None else plain.reason,
            peak_flops=instruments.peak,
            cores=self._facts["cores"],
            disk=plan.model.disk,
            plain_disk=plan.model.disk if plain is None else plain.disk,
            idle_watts=instruments.idle_watts,
            energy_reason=instruments.energy_reason,
            energy_estimated=instruments.energy_estimated,
            prices=self._options.prices,
            device=tuple(str(self._facts[name]) for name in ("device_name", "device") if name in self._facts),
            quality=(
                self._quality(party.found.answers, theirs, trained=plan.model.trained),
                self._quality(theirs, None, trained=plan.model.trained),
            ),
        )
        found = joined(party.sittings)
        tasks = {name: Metric.from_json(data) for name, data in found.tasks.items()}
        return plan.record(
            "ok",
            metrics={**metrics_of(party.sittings, around), **tasks},
            samples=_samples(found),
            conditions={
                "plain": plan.configuration == plain_of(plan.configuration, plan.model.blocks),
                "started": (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                **self._conditions(found, conditions),
                "seconds": seconds,
            },
            notes=_notes(conditions, plan),
        )

    def _quality(
        self, answers: Mapping[str, Any] | None, plain: Mapping[str, Any] | None, *, trained: bool
    ) -> dict[str, Metric]:
        if answers is None or self._data is None:
            return {}
        mine = Answers.from_json(answers)
        found: dict[str, Metric] = {}
        if self._workload.name != "classify":
            found = language_metrics(mine)
        elif trained:
            found = classification_metrics(mine, judged_rows(self._data.rows, self._workload).labels or [])
        if plain is not None:
            found["agreement"] = agreement(mine, Answers.from_json(plain))
        return found

    def _conditions(self, found: Found, conditions: Conditions) -> dict[str, Any]:
        return {
            **conditions.to_json(),
            "rounds": len(found.turns),
            "sittings": self._method.sittings,
            "passes": len(found.turns[0]),
            "warmup": len(found.warmed["times"]),
            "torch_threads": found.loaded["threads"],
            "dtype": found.loaded["dtype"],
            "techniques": found.loaded["techniques"],
            "report": found.described["report"],
            "lost_ticks": 1 - found.ticks[1] / found.ticks[0],
            "baselines": self._simple(),
        }

    def _simple(self) -> dict[str, Any]:
        """Return the majority class and the linear model on the rows that are judged; measured once."""
        if self._baselines is None:
            data = self._data if self._workload.name == "classify" else None
            self._baselines = {} if data is None else simple_models(data, self._workload)
        return self._baselines


class _Reference:
    """What others are compared with: with as many sittings as they have, or one for all where they have one each."""

    def __init__(self, party: Party, method: Method, disk: int | None = None) -> None:
        self._party, self._method, self.disk = party, method, disk
        self._dead = False
        self.reason = ""

    @property
    def found(self) -> Found | None:
        """Findings; None where it does not run."""
        return joined(self._party.sittings) if self._party.sittings else None

    @property
    def answers(self) -> dict[str, Any] | None:
        """Its answers; None where there are none."""
        return self._party.found.answers

    def sit_down(self) -> Party | None:
        """Return it at the start of a sitting; None where it cannot run."""
        if self._party.running and (self._method.sittings == 1 or not self._party.found.turns):
            self._party.grant(self._method.time_limit)
            return self._party
        if not self._dead:
            try:
                self._party.start()
            except WorkError as failure:
                self._dead, self.reason = True, f"{failure.status}: {failure.reason}"
        return None if self._dead else self._party

    def close(self) -> None:
        """End it."""
        self._party.stop()


@dataclass(frozen=True, slots=True)
class _Watched:
    """The conditions of a measurement, and how many seconds it took, loading included."""

    conditions: Conditions
    seconds: float


@dataclass(frozen=True, slots=True)
class _Instruments:
    """What is read beside the clock."""

    meter: EnergyMeter | None
    idle_watts: float | None
    energy_reason: str
    energy_estimated: bool
    peak: float

    @classmethod
    def of(cls, method: Method) -> _Instruments:
        meter = energy_meter(method.device)
        peak = _peak(method)
        if isinstance(meter, Unavailable):
            return cls(None, None, meter.reason, False, peak)
        return cls(meter, idle_power(meter, _IDLE_SECONDS), "", meter.provenance == "estimated", peak)


def _peak(method: Method) -> float:
    """Return the machine's peak with as many threads as the measured processes have."""
    before = torch.get_num_threads()
    torch.set_num_threads(method.threads or before)
    try:
        return machine_peak(method.device).flops
    finally:
        torch.set_num_threads(before)


def _samples(found: Found) -> dict[str, list[Any]]:
    """Return the raw values; memory at most at a tenth of a second, to keep records small."""
    phases = sorted({phase for turn in found.turns for requests in turn for one in requests for phase in one})
    samples: dict[str, list[Any]] = {
        phase: [[one[phase] for requests in turn for one in requests] for turn in found.turns] for phase in phases
    }
    samples["ratio"] = list(found.ratios)
    samples["page_faults"] = list(found.faults)
    samples["memory"] = [trace.pairs()[::10] for trace in found.memory]
    return samples


def _notes(conditions: Conditions, plan: _Plan) -> tuple[str, ...]:
    notes = [conditions.warning] if conditions.warning else []
    if not plan.model.trained and plan.workload["name"] == "classify":
        notes.append("Its classifier was not trained: of quality only the agreement with the plain model is shown.")
    return tuple(notes)
