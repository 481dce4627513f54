"""Measuring configurations on this machine: trainings and measurements in processes of their own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from rheostat.core.errors import MeasurementError, RheostatError, TrainingError
from rheostat.core.knob import Value
from rheostat.core.measurement import Measurement
from rheostat.core.metrics import Metric
from rheostat.core.text import TextData
from rheostat.core.workload import Data, Workload
from rheostat.measure.bench.data import check_data, check_labels, digest
from rheostat.measure.bench.plan import Model, identify
from rheostat.measure.bench.process import WorkError
from rheostat.measure.bench.results import Surroundings, metrics_of
from rheostat.measure.bench.session import Found, Texts
from rheostat.measure.probes import machine
from rheostat.measure.probes.conditions import ConditionsWatch
from rheostat.search.evaluator import Request
from rheostat.search.instruments import Clock, Instruments
from rheostat.search.parts import Parts, parts_of
from rheostat.search.processor import estimated_energy, processor_metrics
from rheostat.search.qualities import Judged, Qualities
from rheostat.search.seats import Seats
from rheostat.search.sitting import Setting, SettingMethod, Sitting, Taken, measured
from rheostat.search.trainings import LocalTrainings, Source, TrainingOptions, Trainings

__all__ = ["LocalEvaluator", "LocalOptions", "local_evaluator"]

_MEMORY_SHARE: Final = 0.9
_GUESSED: Final = {"load": 5.0, "judge": 20.0, "measure": 4.0}


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """What a local evaluator measures.

    Attributes:
        workload: What is run; its ``batch_size`` is what a configuration without ``batch`` has, its ``quality_rows``
            are judged at fidelity 1.
        method: How.
        split: The split that requests are made of and quality is judged on. Choose nothing on the test split.
        threads: Threads of torch of a configuration without ``threads``, and of the reference; None for torch's own
            choice.
        watts_per_core: Estimates energy where this machine has nothing that measures it: processor time times so many
            watts. None leaves it unavailable there.
    """

    workload: Workload = field(default_factory=lambda: Workload("classify"))
    method: SettingMethod = field(default_factory=SettingMethod)
    split: str = "validation"
    threads: int | None = None
    watts_per_core: float | None = None


@dataclass(frozen=True, slots=True)
class _Task:
    """A request and its parts."""

    request: Request
    parts: Parts

    @property
    def group(self) -> str:
        """What has to be loaded for it: requests of one group are measured in one process."""
        return json.dumps([self.parts.training, self.request.fidelity, self.parts.knobs], sort_keys=True)

    @property
    def judged(self) -> str:
        """What of it is judged, within its group."""
        return json.dumps(self.parts.dials, sort_keys=True)


class LocalEvaluator:
    """Measures configurations on this machine.

    A training is run once, in its own process, and kept. The settings of one trained model with its knobs set are
    measured in one process, without loading it again, each in turn with the plain model at the default setting.
    Quality is judged once for whatever it depends on, and remembered. What goes wrong is a measurement with a status;
    the next configuration runs in a fresh process.

    Args:
        trainings: Where trained models come from.
        data: Texts.
        folder: Where answers are kept.
        options: What is measured and how.

    Raises:
        DataError: If the data does not fit the workload.
        MeasurementError: If the workload is training.
    """

    def __init__(self, trainings: Trainings, data: TextData, folder: Path, options: LocalOptions | None = None) -> None:
        chosen = options or LocalOptions()
        self._workload, self._trainings = chosen.workload, trainings
        if self._workload.name == "train":
            raise MeasurementError("A search measures what runs a model.", given="the workload train")
        self._data = Data(data, chosen.split)
        check_data(self._workload, self._data)
        self._digest = digest(self._data)
        self._facts = machine(chosen.method.device)
        limit = chosen.method.memory_limit or int(_MEMORY_SHARE * (self._facts["memory_bytes"] or 0)) or None
        self._method, self._threads = replace(chosen.method, memory_limit=limit), chosen.threads
        self._watts = chosen.watts_per_core
        self._qualities = Qualities(folder / "quality", self._data, self._workload)
        names = data.label_names
        texts = Texts(self._qualities.question(1.0)[0], None, None if names is None else len(names))
        self._seats = Seats(self._workload, texts, self._method, self._threads)
        self._models: dict[str, Model] = {}
        self._failed: dict[str, WorkError] = {}
        self._seen: dict[str, list[float]] = {name: [] for name in _GUESSED}
        self._tools: Instruments | None = None

    def __enter__(self) -> LocalEvaluator:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Measurement]:
        """Measure configurations, those of one process together.

        Raises:
            SettingError: If a configuration names an unknown axis or an unfit value.
        """
        tasks = [_Task(request, parts_of(request.configuration)) for request in requests]
        self._seats.dials |= {name for task in tasks for name in task.parts.dials}
        groups: dict[str, list[_Task]] = {}
        for task in tasks:
            groups.setdefault(task.group, []).append(task)
        # What is trained and loaded comes first.
        for group in sorted(groups.values(), key=lambda group: self._waiting(group[0])):
            yield from self._group(_together(group))

    def price(self, configuration: Mapping[str, Value], fidelity: float = 1.0) -> float:
        """Return the seconds that measuring it now would take, by what was seen so far."""
        task = _Task(Request(configuration, fidelity), parts_of(configuration))
        training = self._trainings.price(task.parts.training, fidelity)
        return training + self._price_of_measuring(task, trained=training == 0.0)

    def bundle(self, configuration: Mapping[str, Value]) -> Path:
        """Return the trained bundle that a configuration runs; it is trained first where it is not there.

        Raises:
            TrainingError: If it cannot be trained.
        """
        try:
            return self._trainings.bundle(parts_of(configuration).training)
        except WorkError as failure:
            raise TrainingError(
                "A configuration's training can be run.",
                given=f"{dict(configuration)}: {failure.status}, {failure.reason}",
                mend="Choose another one, or give it more time or memory.",
            ) from failure

    def training_seconds(self) -> dict[str, float]:
        """Return what each whole training took, by its axes as JSON."""
        return self._trainings.seconds()

    def close(self) -> None:
        """End the processes."""
        self._seats.close()

    def _waiting(self, task: _Task) -> tuple[float, bool]:
        training = self._trainings.price(task.parts.training, task.request.fidelity)
        return training, not self._seats.is_loaded(task.parts.knobs)

    def _price_of_measuring(self, task: _Task, *, trained: bool) -> float:
        expected = {name: fmean(seen[-50:]) if seen else _GUESSED[name] for name, seen in self._seen.items()}
        seconds = expected["measure"]
        source = self._trainings.source(task.parts.training, task.request.fidelity) if trained else None
        if source is None or not self._seats.is_loaded(task.parts.knobs, source.place):
            seconds += expected["load"]
        if source is None or self._known(task, self._model(source.place)) is None:
            seconds += expected["judge"] * task.request.fidelity
        return seconds

    def _group(self, tasks: Sequence[_Task]) -> Iterator[Measurement]:
        first = tasks[0]
        try:
            source = self._trainings.source(first.parts.training, first.request.fidelity)
        except WorkError as failure:
            for task in tasks:
                yield self._record(task, {"training": task.parts.training}, failure)
            return
        for task in tasks:
            yield self._one(task, source)
            # The first one has paid for the training.
            source = replace(source, seconds=0.0)

    def _one(self, task: _Task, source: Source) -> Measurement:
        model, start = self._model(source.place), time.monotonic()
        clock = Clock(training=source.seconds)
        try:
            if shortage := model.shortage(self._method.memory_limit):
                raise WorkError("out-of-memory", shortage)
            sitting = self._seated(task, source, model, clock)
            judged = self._judged(task, model, sitting, clock)
            return self._measured(task, model, sitting, judged, clock)
        except (WorkError, RheostatError) as error:
            self._seats.drop()
            failure = error if isinstance(error, WorkError) else WorkError("failed", str(error))
            return self._record(task, model.facts, failure, seconds=source.seconds + time.monotonic() - start)

    def _seated(self, task: _Task, source: Source, model: Model, clock: Clock) -> Sitting:
        key = f"load {task.group}"
        self._refuse(key)
        if self._seats.is_loaded(task.parts.knobs, source.place, task.parts.dials):
            return self._seats.sit_down(source.place, task.parts.knobs, task.parts.dials, model.blocks)
        before = time.monotonic()
        try:
            sitting = self._seats.sit_down(source.place, task.parts.knobs, task.parts.dials, model.blocks)
            check_labels(sitting.loaded["label_names"], self._data)
        except WorkError as failure:
            self._failed[key] = failure
            raise
        except RheostatError as error:
            self._failed[key] = WorkError("failed", str(error))
            raise self._failed[key] from error
        clock.loading = time.monotonic() - before
        self._seen["load"].append(clock.loading)
        return sitting

    def _judged(self, task: _Task, model: Model, sitting: Sitting, clock: Clock) -> Judged:
        if not model.trained and self._workload.name == "classify":
            return Judged({}, {})
        found = self._known(task, model)
        if found is not None:
            return found
        parts, fidelity = task.parts, task.request.fidelity
        key = f"judge {task.group} {task.judged}"
        self._refuse(key)
        before = time.monotonic()
        try:
            answers = sitting.judge(parts.dials, *self._qualities.question(fidelity))
            found = self._qualities.keep(model.facts, {**parts.knobs, **parts.dials}, fidelity, answers)
        except WorkError as failure:
            self._failed[key] = failure
            raise
        except MeasurementError as error:
            self._failed[key] = WorkError("failed", str(error))
            raise self._failed[key] from error
        clock.judging = time.monotonic() - before
        self._seen["judge"].append(clock.judging / fidelity)
        return found

    def _measured(self, task: _Task, model: Model, sitting: Sitting, judged: Judged, clock: Clock) -> Measurement:
        before = time.monotonic()
        if self._tools is None:
            self._tools = Instruments.of(self._method.device)
        parts = task.parts
        setting = Setting(parts.dials, parts.batch or self._workload.rows, parts.threads or self._threads)
        reference = self._seats.reference(sitting, model.blocks)
        with ConditionsWatch([one.pid for one in {sitting, reference.sitting if reference else sitting}]) as watch:
            taken = measured(sitting, setting, reference, self._method, self._tools.meter)
        found = taken.found
        clock.measuring = time.monotonic() - before
        self._seen["measure"].append(clock.measuring)
        conditions = {
            **watch.conditions.to_json(),
            **clock.to_json(),
            "rounds": len(found.turns),
            "passes": len(found.turns[0]),
            "torch_threads": found.loaded["threads"],
            "dtype": found.loaded["dtype"],
            "techniques": found.loaded["techniques"],
            "report": found.described["report"],
        }
        warning = watch.conditions.warning
        return replace(
            self._blank(task, model.facts),
            status="ok",
            metrics={**self._metrics(taken, model), **judged.metrics},
            samples={
                "latency": _latencies(found),
                "ratio": list(found.ratios),
                "processor": taken.processor,
                **judged.samples,
            },
            conditions=conditions,
            notes=(warning,) if warning else (),
        )

    def _metrics(self, taken: Taken, model: Model) -> dict[str, Metric]:
        tools = self._tools or Instruments.of(self._method.device)
        around = Surroundings(
            plain=None,
            plain_reason=self._seats.reason,
            peak_flops=tools.peak,
            cores=self._facts["cores"],
            disk=model.disk,
            idle_watts=tools.idle_watts,
            energy_reason=tools.energy_reason or "a turn was shorter than the step of the meter",
            energy_estimated=tools.energy_estimated,
        )
        metrics = {**metrics_of([taken.found], around), **processor_metrics(taken.processor)}
        if taken.found.energy is None and self._watts is not None:
            metrics.update(estimated_energy(taken.processor, self._watts))
        # Compression is of one model against another one, which is not loaded here.
        return {name: metric for name, metric in metrics.items() if not name.startswith("compression")}

    def _known(self, task: _Task, model: Model) -> Judged | None:
        parts = task.parts
        return self._qualities.find(model.facts, {**parts.knobs, **parts.dials}, task.request.fidelity)

    def _model(self, place: str) -> Model:
        if place not in self._models:
            found = identify(place)
            # What is on the hub has no files here to be known by.
            self._models[place] = replace(found, facts={"sha256": place, **found.facts})
        return self._models[place]

    def _refuse(self, key: str) -> None:
        """Do not try again what failed before."""
        if key in self._failed:
            raise WorkError(self._failed[key].status, self._failed[key].reason)

    def _record(self, task: _Task, facts: Mapping[str, Any], failure: WorkError, seconds: float = 0.0) -> Measurement:
        blank = self._blank(task, facts)
        return replace(blank, status=failure.status, reason=failure.reason, conditions={"seconds": seconds})

    def _blank(self, task: _Task, facts: Mapping[str, Any]) -> Measurement:
        batch = task.parts.batch or self._workload.rows
        requests = max(1, self._method.rows // batch)
        workload = replace(self._workload, batch_size=batch, requests=requests).to_json()
        rows = {"split": self._data.split, "rows": len(self._data.rows), "sha256": self._digest}
        described = {**workload, "fidelity": task.request.fidelity, "data": rows}
        return Measurement(dict(facts), dict(task.request.configuration), described, self._facts, "failed")


def local_evaluator(
    model: str,
    data: TextData,
    folder: Path,
    training: TrainingOptions | None = None,
    options: LocalOptions | None = None,
) -> LocalEvaluator:
    """Return an evaluator that trains and measures one model here, with everything it makes below a folder.

    Args:
        model: A bundle's folder, or what `rheostat.models.sources.load_model` takes.
        data: What is learnt from and measured on.
        folder: A study's folder.
        training: How trainings are run.
        options: What is measured and how.

    Raises:
        RheostatError: If the settings or the data are unfit.
    """
    trainings = LocalTrainings(model, data, folder / "trainings", training)
    return LocalEvaluator(trainings, data, folder, options)


def _together(tasks: Sequence[_Task]) -> list[_Task]:
    """Return tasks in their order, but those together that are judged together."""
    found: dict[str, list[_Task]] = {}
    for task in tasks:
        found.setdefault(task.judged, []).append(task)
    return [task for same in found.values() for task in same]


def _latencies(found: Found) -> list[list[float]]:
    return [[one["latency"] for requests in turn for one in requests] for turn in found.turns]
