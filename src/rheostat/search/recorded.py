"""Recorded spaces: every configuration measured once, so that searches can be compared without measuring again."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Protocol

from rheostat.core.errors import MeasurementError, SettingError
from rheostat.core.files import write_atomically
from rheostat.core.goals import Goals
from rheostat.core.knob import Value
from rheostat.core.measurement import Measurement
from rheostat.core.metrics import Metric, metric_kind
from rheostat.core.pareto import hypervolume
from rheostat.core.space import Axis, Conflict, Space, Stage

__all__ = ["VERSION", "RecordedEvaluator", "RecordedSpace", "Row", "bits_of", "hex_of", "quality_key", "training_key"]

VERSION: Final = 1

_TRAINING: Final[tuple[Stage, ...]] = ("architecture", "finetuning")
_QUALITY: Final[tuple[Stage, ...]] = ("architecture", "finetuning", "inference")


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration, measured.

    Attributes:
        configuration: Canonical.
        metrics: Metric name to value.
        seconds: What the measurement took, training left out.
        reason: Why it failed; empty where it worked.
        predicted: What the cost model said before anything was measured: metric name to value, in the metric's unit up
            to a factor; empty where it was not asked.
    """

    configuration: dict[str, Value]
    metrics: dict[str, Metric]
    seconds: float = 0.0
    reason: str = ""
    predicted: Mapping[str, float] = field(default_factory=dict)


class Asked(Protocol):
    """What is to be measured: a configuration, and how much of it."""

    @property
    def configuration(self) -> Mapping[str, Value]:
        """Axis name to value."""

    @property
    def fidelity(self) -> float:
        """Part of the rows, in (0, 1]."""


@dataclass(frozen=True)
class RecordedSpace:
    """A space whose every configuration is measured.

    Attributes:
        space: The axes.
        rows: One for each configuration.
        machine: Facts about the machine.
        workload: What was run; ``rows`` says how many rows each text of ``right`` tells of.
        right: Which rows were classified right, as `hex_of` writes it, by `quality_key`.
        trainings: What each training took (``seconds``) and was, by `training_key`.
        sources: Provenance and source of each metric, such as ``{"energy_per_sample": ["estimated", "RAPL model"]}``.

    Raises:
        MeasurementError: If a configuration of the space is missing, or comes twice.
    """

    space: Space
    rows: tuple[Row, ...]
    machine: Mapping[str, Any] = field(default_factory=dict)
    workload: Mapping[str, Any] = field(default_factory=dict)
    right: Mapping[str, str] = field(default_factory=dict)
    trainings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    sources: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self._by_key) != len(self.rows):
            raise MeasurementError("A recorded space has each configuration once.", given=f"{len(self.rows)} rows")
        missing = [one for one in self.space.configurations() if self.space.key(one) not in self._by_key]
        if missing or self.space.size != len(self.rows):
            raise MeasurementError(
                "A recorded space has a row for each configuration of its axes, and no other.",
                given=f"{len(self.rows)} rows for {self.space.size}" + (f", without {missing[0]}" if missing else ""),
                mend="Measure what is missing; a failure is a row too, with its reason.",
            )

    @classmethod
    def read(cls, path: Path) -> RecordedSpace:
        """Read one from a file.

        Raises:
            MeasurementError: If there is none, or it is damaged, incomplete or of another version.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.get("version") != VERSION:
                raise MeasurementError(f"A recorded space is of version {VERSION}.", given=data.get("version"))
            return cls._parsed(data)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise MeasurementError("A recorded space is read from its file.", given=f"{path} ({error})") from error

    def write(self, path: Path) -> None:
        """Write it to a file, whole or not at all.

        Raises:
            RheostatError: If it cannot be written.
        """
        rows = ",\n".join(json.dumps(_plain_row(row), allow_nan=False) for row in self.rows)
        rest = {
            "version": VERSION,
            "axes": [axis.to_json() for axis in self.space.axes],
            "conflicts": [conflict.to_json() for conflict in self.space.conflicts],
            **{name: dict(getattr(self, name)) for name in _TABLES},
        }
        # One row a line, so that differences can be read.
        write_atomically(path, json.dumps(rest)[:-1] + f', "rows": [\n{rows}\n]}}\n')

    def row(self, configuration: Mapping[str, Value]) -> Row:
        """Return what was measured of a configuration.

        Raises:
            SettingError: If it is none of the space, or may not run.
        """
        found = self._by_key.get(self.space.key(configuration))
        if found is None:
            raise SettingError("A configuration may run.", given=dict(configuration))
        return found

    @property
    def baseline(self) -> Row:
        """What was measured of the default configuration."""
        return self.row({})

    def evaluator(self, *, free_dials: bool = True) -> RecordedEvaluator:
        """Return what measures by looking up.

        Args:
            free_dials: Whether settings of one training share it; else each configuration is trained anew.
        """
        return RecordedEvaluator(self, free_dials=free_dials)

    def share(self, configurations: Iterable[Mapping[str, Value]], goals: Goals) -> float:
        """Return the share of the true hypervolume that some configurations reach.

        Each objective is scaled linearly so that the best value of the space is 0 and the worst 1; the reference is
        the worst value of each. Limits do not come in.

        Args:
            configurations: What a search has measured.
            goals: The objectives.

        Returns:
            From 0 to 1.
        """
        reached = [self._scaled(self.row(one), goals) for one in configurations]
        whole = self._hypervolume(goals)
        return _covered([one for one in reached if one is not None]) / whole if whole else 1.0

    def _hypervolume(self, goals: Goals) -> float:
        key = tuple(objective.metric for objective in goals.objectives)
        if key not in self._wholes:
            points = [self._scaled(row, goals) for row in self.rows]
            self._wholes[key] = _covered([point for point in points if point is not None])
        return self._wholes[key]

    def _scaled(self, row: Row, goals: Goals) -> tuple[float, ...] | None:
        values = goals.values(row.metrics)
        if values is None:
            return None
        ends = zip(values, self._ends(goals), strict=True)
        return tuple((value - low) / (high - low) if high > low else 0.0 for value, (low, high) in ends)

    def _ends(self, goals: Goals) -> list[tuple[float, float]]:
        key = tuple(objective.metric for objective in goals.objectives)
        if key not in self._spans:
            found = [goals.values(row.metrics) for row in self.rows]
            columns = list(zip(*(values for values in found if values is not None), strict=True))
            if not columns:
                raise MeasurementError("A recorded space has the metrics that are asked for.", given=list(key))
            self._spans[key] = [(min(column), max(column)) for column in columns]
        return self._spans[key]

    @cached_property
    def _by_key(self) -> dict[str, Row]:
        return {self.space.key(row.configuration): row for row in self.rows}

    @cached_property
    def _wholes(self) -> dict[tuple[str, ...], float]:
        return {}

    @cached_property
    def _spans(self) -> dict[tuple[str, ...], list[tuple[float, float]]]:
        return {}

    @classmethod
    def _parsed(cls, data: Mapping[str, Any]) -> RecordedSpace:
        axes = tuple(Axis.from_json(axis) for axis in data["axes"])
        space = Space(axes, tuple(Conflict.from_json(one) for one in data.get("conflicts", ())))
        tables = {name: data.get(name, {}) for name in _TABLES}
        sources = {name: (one[0], one[1]) for name, one in tables.pop("sources").items()}
        return cls(space, tuple(_row(one, space, sources) for one in data["rows"]), **tables, sources=sources)


class RecordedEvaluator:
    """Measures by looking up; see `rheostat.search.evaluator.Evaluator`.

    Args:
        recorded: Where to look.
        free_dials: Whether settings of one training share it; else each configuration is trained anew.

    Attributes:
        seconds: What everything measured so far would have taken, as recorded, trainings included.
    """

    def __init__(self, recorded: RecordedSpace, *, free_dials: bool = True) -> None:
        self._recorded, self._free = recorded, free_dials
        self._trained: set[str] = set()
        self.seconds = 0.0

    def evaluate(self, requests: Sequence[Asked]) -> Iterator[Measurement]:
        """Yield a measurement for each request, in their order."""
        for request in requests:
            self.seconds += self.price(request.configuration, request.fidelity)
            self._trained.add(self._training(request.configuration))
            yield self._measurement(request.configuration, request.fidelity)

    def price(self, configuration: Mapping[str, Value], fidelity: float = 1.0) -> float:
        """Return the seconds that measuring it would take now, as recorded.

        A part of the rows takes that part of the time. A training is paid in full by the first that needs it: models
        are not kept half trained here.
        """
        training = self._training(configuration)
        trained = self._free and training in self._trained
        cost = 0.0 if trained else float(self._recorded.trainings.get(training, {}).get("seconds", 0.0))
        return cost + fidelity * self._recorded.row(configuration).seconds

    def bundle(self, configuration: Mapping[str, Value]) -> Path:
        """Return the bundle that the training was recorded with.

        Raises:
            MeasurementError: If none was.
        """
        found = self._recorded.trainings.get(self._training(configuration), {}).get("bundle")
        if found is None:
            raise MeasurementError("A recorded space has no bundles.", given=dict(configuration))
        return Path(found)

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def _training(self, configuration: Mapping[str, Value]) -> str:
        return training_key(self._recorded.space, configuration)

    def _measurement(self, configuration: Mapping[str, Value], fidelity: float) -> Measurement:
        row = self._recorded.row(configuration)
        metrics = dict(row.metrics)
        if fidelity < 1.0 and not row.reason:
            metrics = {name: _looser(metric, fidelity) for name, metric in metrics.items()}
            metrics.update(self._part(row, fidelity))
        return Measurement(
            model={"recorded": True},
            configuration=dict(row.configuration),
            workload={**self._recorded.workload, "fidelity": fidelity},
            machine=dict(self._recorded.machine),
            status="failed" if row.reason else "ok",
            metrics=metrics,
            reason=row.reason,
        )

    def _part(self, row: Row, fidelity: float) -> dict[str, Metric]:
        """Return the accuracy on the first part of the rows, where the rows were recorded."""
        text = self._recorded.right.get(quality_key(self._recorded.space, row.configuration))
        if text is None or "accuracy" not in row.metrics:
            return {}
        bits = bits_of(text, self._recorded.workload.get("rows"))
        seen = bits[: max(1, math.ceil(fidelity * len(bits)))]
        low, high = _wilson(sum(seen), len(seen))
        return {"accuracy": Metric(sum(seen) / len(seen), "1", low, high, source=f"{len(seen)} rows")}


def training_key(space: Space, configuration: Mapping[str, Value]) -> str:
    """Return what `RecordedSpace.trainings` calls the training that a configuration needs.

    Example:
        >>> space = Space((Axis("recipe", "finetuning", ("plain",), "plain"), Axis("batch", "deployment", (1, 8), 1)))
        >>> training_key(space, {"batch": 8})
        '{"recipe": "plain"}'
    """
    return json.dumps(space.part(space.canonical(configuration), _TRAINING))


def quality_key(space: Space, configuration: Mapping[str, Value]) -> str:
    """Return what `RecordedSpace.right` calls the answers of a configuration: all of it but the deployment."""
    return json.dumps(space.part(space.canonical(configuration), _QUALITY))


def hex_of(bits: Sequence[bool]) -> str:
    """Return bits as text, four a digit, the first one leading; zeros fill the last digit.

    Example:
        >>> hex_of([True, False, True, True, True])
        'b8'
    """
    padded = [*bits, *([False] * (-len(bits) % 4))]
    fours = (padded[at : at + 4] for at in range(0, len(padded), 4))
    return "".join(f"{sum(bit << place for bit, place in zip(four, (3, 2, 1, 0), strict=True)):x}" for four in fours)


def bits_of(text: str, count: int | None = None) -> list[bool]:
    """Return what `hex_of` wrote.

    Args:
        text: Hexadecimal digits.
        count: How many bits there are; four a digit where None.

    Example:
        >>> bits_of("b8", 5)
        [True, False, True, True, True]
    """
    bits = [bool(int(digit, 16) >> place & 1) for digit in text for place in (3, 2, 1, 0)]
    return bits[: len(bits) if count is None else count]


_TABLES = ("machine", "workload", "right", "trainings", "sources")


def _row(data: Mapping[str, Any], space: Space, sources: Mapping[str, tuple[str, str]]) -> Row:
    metrics = {name: _metric(name, numbers, sources) for name, numbers in data.get("metrics", {}).items()}
    configuration = space.canonical(data["configuration"])
    status = str(data.get("status", "ok"))
    reason = str(data.get("reason") or ("" if status == "ok" else status))
    return Row(configuration, metrics, float(data.get("seconds", 0.0)), reason, data.get("predicted", {}))


def _metric(name: str, numbers: Sequence[float | None], sources: Mapping[str, tuple[str, str]]) -> Metric:
    value, low, high = numbers
    provenance, source = sources.get(name, ("counter", ""))
    unit = metric_kind(name).unit
    return Metric.from_json(
        {"value": value, "unit": unit, "low": low, "high": high, "provenance": provenance, "source": source}
    )


def _plain_row(row: Row) -> dict[str, Any]:
    metrics = {name: [metric.value, metric.low, metric.high] for name, metric in row.metrics.items()}
    plain = {"configuration": row.configuration, "metrics": metrics, "seconds": row.seconds}
    more = {"reason": row.reason, "predicted": dict(row.predicted)}
    return {**plain, **{name: value for name, value in more.items() if value}}


def _covered(points: Collection[Sequence[float]]) -> float:
    return hypervolume(list(points), (1.0,) * len(next(iter(points)))) if points else 0.0


def _looser(metric: Metric, fidelity: float) -> Metric:
    """Return a metric with the interval that a part of the repeats would give."""
    if metric.value is None or metric.low is None or metric.high is None:
        return metric
    wider = 1 / math.sqrt(fidelity)
    ends = (metric.value - wider * (metric.value - metric.low), metric.value + wider * (metric.high - metric.value))
    return Metric(metric.value, metric.unit, *ends, provenance=metric.provenance, source=metric.source)


def _wilson(right: int, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of a share: https://doi.org/10.1080/01621459.1927.10502953."""
    z2, share = 1.96**2, right / rows
    centre = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    reach = math.sqrt(z2 * (share * (1 - share) / rows + z2 / (4 * rows * rows))) / (1 + z2 / rows)
    return centre - reach, centre + reach
