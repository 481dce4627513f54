"""What the page of a search knows: its trials as points with a standing, and how their numbers are written."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Literal

from rheostat.core.errors import MeasurementError
from rheostat.core.goals import Goals, LimitVerdict
from rheostat.core.measurement import key_of
from rheostat.core.metrics import METRICS, Metric
from rheostat.core.result import Result
from rheostat.core.score import QUALITY, gain, preference
from rheostat.core.space import Space
from rheostat.core.statistics import Estimate
from rheostat.core.trial import Trial
from rheostat.report.leaderboard_groups import Group, configuration_text
from rheostat.report.scales import Scale, kind_of, scale_for
from rheostat.report.wording import is_share

__all__ = ["STANDINGS", "Point", "Standing", "StudyData", "as_metric"]

Standing = Literal["recommended", "baseline", "front", "dominated", "infeasible", "failed"]

STANDINGS: Final[Mapping[Standing, str]] = {
    "recommended": "recommended",
    "baseline": "baseline: the default configuration",
    "front": "front: keeps the limits, nothing is better in everything",
    "dominated": "dominated: keeps the limits, another is better",
    "infeasible": "infeasible: breaks a limit",
    "failed": "failed",
}
"""Every standing of a configuration, in words."""


@dataclass(frozen=True, slots=True)
class Point:
    """A configuration that was measured in full, or failed.

    Attributes:
        trial: The trial that says most about it.
        metrics: What is known of it: of all its repeats together where it is one of the result's findings.
        standing: How it stands to the goal.
        excess: By how much it breaks the limits; 0 where it keeps them, infinity where a metric is missing.
    """

    trial: Trial
    metrics: Mapping[str, Metric]
    standing: Standing
    excess: float

    @property
    def feasible(self) -> bool:
        """Whether it works and keeps every limit."""
        return self.trial.ok and self.excess == 0.0

    @property
    def name(self) -> str:
        """Its number and configuration in a few words."""
        return f"#{self.trial.number} {configuration_text(self.trial.configuration)}"

    def value(self, metric: str) -> float | None:
        """Return a value in SI units; None where there is none."""
        found = self.metrics.get(metric)
        return None if found is None else found.value


@dataclass(frozen=True)
class StudyData:
    """A study of a search as plain data: all that its page shows.

    Attributes:
        title: The heading.
        space: What the search could propose.
        goals: What it made better, and what had to be kept.
        trials: Every trial, failures and partial ones included, by number.
        result: What came of it.
        scenario: The scenario as it was asked for.
        facts: Tables of more facts for the end of the page by heading, such as ``{"Data": {"sha256": "..."}}``.
        rerun: The commands that do it again.

    Raises:
        MeasurementError: If the result names a configuration that no trial has.
    """

    title: str
    space: Space
    goals: Goals
    trials: Sequence[Trial]
    result: Result
    scenario: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rerun: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        named = [self.result.recommended, self.result.baseline, *self.result.front]
        known = {_key(trial.configuration) for trial in self.trials}
        for finding in named:
            if finding is not None and _key(finding.configuration) not in known:
                raise MeasurementError(
                    "What a result names is one of the study's trials.", given=json.dumps(dict(finding.configuration))
                )

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """One point a configuration that was measured in full or failed, by number."""
        chosen: dict[str, Trial] = {}
        for trial in self.trials:
            key = _key(trial.configuration)
            if trial.fidelity == 1 and (trial.ok or key not in chosen):
                chosen[key] = trial
        return tuple(sorted((self._point(trial) for trial in chosen.values()), key=lambda one: one.trial.number))

    @cached_property
    def measured(self) -> tuple[Point, ...]:
        """The points that worked."""
        return tuple(point for point in self.points if point.trial.ok)

    @cached_property
    def partial(self) -> tuple[Trial, ...]:
        """The trials with a part of the training or of the data."""
        return tuple(trial for trial in self.trials if trial.fidelity < 1)

    @property
    def baseline(self) -> Point | None:
        """The default configuration, where it could be measured."""
        return None if self.result.baseline is None else self.find(self.result.baseline.configuration)

    @property
    def recommended(self) -> Point | None:
        """The configuration to use; None where nothing keeps the limits."""
        return None if self.result.recommended is None else self.find(self.result.recommended.configuration)

    @property
    def quality(self) -> str:
        """The metric that says how good answers are; empty where the search had none."""
        return next((name for name in self.objectives if name in QUALITY), "")

    @property
    def objectives(self) -> list[str]:
        """What was to be better, in the order asked."""
        return [objective.metric for objective in self.goals.objectives]

    @property
    def costs(self) -> list[str]:
        """The objectives that do not say how good answers are."""
        return [name for name in self.objectives if name not in QUALITY]

    @cached_property
    def metrics(self) -> list[str]:
        """Every metric that some point has a value of: objectives, limits, then the order of tables."""
        there = {name for point in self.measured for name, metric in point.metrics.items() if metric.value is not None}
        wanted = [*self.objectives, *(limit.metric for limit in self.goals.limits), *METRICS, *sorted(there)]
        return [name for name in dict.fromkeys(wanted) if name in there]

    @cached_property
    def group(self) -> Group:
        """The same for what the page shares with a leaderboard."""
        rows = tuple(replace(point.trial.measurement, metrics=dict(point.metrics)) for point in self.points)
        first = (self.points[0].trial if self.points else self.trials[0]).measurement if self.trials else None
        parts = ({}, {}, {}) if first is None else (first.model, first.workload, first.machine)
        return Group(*parts, rows)

    @cached_property
    def baseline_metrics(self) -> Mapping[str, Metric]:
        """What is known of the default configuration; nothing where it could not be measured."""
        return {} if self.result.baseline is None else self.result.baseline.metrics

    def find(self, configuration: Mapping[str, Any]) -> Point | None:
        """Return the point of a configuration."""
        wanted = _key(configuration)
        return next((point for point in self.points if _key(point.trial.configuration) == wanted), None)

    def verdicts(self, metrics: Mapping[str, Metric]) -> tuple[LimitVerdict, ...]:
        """Say how values stand to each limit."""
        return self.goals.verdicts(metrics, self.baseline_metrics)

    def title_of(self, metric: str) -> str:
        """Return a metric's name for people; what was estimated says so."""
        return self.group.kind(metric).title + (" (estimated)" if self.is_estimated(metric) else "")

    def is_estimated(self, metric: str) -> bool:
        """Whether some value of a metric was estimated."""
        found = (point.metrics.get(metric) for point in self.measured)
        return any(one is not None and one.provenance == "estimated" for one in found)

    @property
    def is_energy_estimated(self) -> bool:
        """Whether some energy or power was estimated."""
        return any(self.is_estimated(name) for name in self.metrics if name.startswith(("energy", "power")))

    @property
    def energy_source(self) -> str:
        """What estimated them, in brackets; nothing where that is unknown."""
        known = [
            metric.source
            for point in self.measured
            for name, metric in point.metrics.items()
            if name.startswith(("energy", "power")) and metric.provenance == "estimated" and metric.source
        ]
        return f" ({'; '.join(dict.fromkeys(known))})" if known else ""

    def scale(self, metric: str) -> Scale:
        """Return how a metric is written all over the page."""
        if metric not in self._scales:
            found = [point.metrics[metric] for point in self.measured if metric in point.metrics]
            self._scales[metric] = scale_for(self.group.kind(metric), found)
        return self._scales[metric]

    def number(self, metric: str, value: float) -> str:
        """Return a plain value of a metric with its unit."""
        return self.scale(metric).text(Metric(value, kind_of(metric).unit))

    def score(self, point: Point) -> float | None:
        """Return the number that recommendations go by: 1 for the baseline, higher is better; None if unknown."""
        return preference(self.goals.objectives, point.metrics, self.baseline_metrics, rows=self._rows(point))

    def gain(self, point: Point, metric: str) -> Estimate | None:
        """Return how many times better than the baseline a point is, with the widest interval that both allow.

        None where one of them lacks the metric. Latencies of requests that hold more rows are compared by row.
        """
        here, there, rows = point.metrics.get(metric), self.baseline_metrics.get(metric), self._rows(point)
        middle = gain(metric, point.metrics, self.baseline_metrics, rows)
        if middle is None or here is None or there is None:
            return None
        ends = [gain(metric, {metric: one}, {metric: two}, rows) for one in _ends(here) for two in _ends(there)]
        known = [end for end in ends if end is not None]
        # An interval that reaches 0 bounds no ratio.
        return Estimate(middle, min(known), max(known)) if len(known) == len(ends) else Estimate(middle, 0.0, math.inf)

    def each(self, point: Point, metric: str) -> str:
        """Return `` a row`` where a gain is told by row: a latency of requests unlike the baseline's."""
        own, plain = self._rows(point)
        return ", a row" if metric.startswith("latency_") and own != plain else ""

    @property
    def batches(self) -> bool:
        """Whether requests of different numbers of rows were measured."""
        return len({self._rows(point)[0] for point in self.points}) > 1

    def logarithmic(self, metric: str) -> bool:
        """Whether a metric is a cost or a rate, of which factors matter rather than differences."""
        values = [point.value(metric) for point in self.measured]
        return metric not in QUALITY and not is_share(metric) and all(value is None or value > 0 for value in values)

    @cached_property
    def _scales(self) -> dict[str, Scale]:
        return {}

    @cached_property
    def _standings(self) -> dict[str, Standing]:
        found: dict[str, Standing] = {_key(one.configuration): "front" for one in self.result.front}
        if self.result.baseline is not None:
            found[_key(self.result.baseline.configuration)] = "baseline"
        if self.result.recommended is not None:
            found[_key(self.result.recommended.configuration)] = "recommended"
        return found

    @cached_property
    def _known(self) -> dict[str, Mapping[str, Metric]]:
        named = [*self.result.front, self.result.baseline, self.result.recommended]
        return {_key(one.configuration): one.metrics for one in named if one is not None}

    def _point(self, trial: Trial) -> Point:
        key = _key(trial.configuration)
        if not trial.ok:
            return Point(trial, trial.measurement.metrics, "failed", math.inf)
        metrics = self._known.get(key, trial.measurement.metrics)
        excess = self.goals.excess(metrics, self.baseline_metrics)
        return Point(trial, metrics, self._standings.get(key, "infeasible" if excess else "dominated"), excess)

    def _rows(self, point: Point) -> tuple[int, int]:
        own, plain = point.trial.configuration, self.space.default
        return int(own.get("batch", 1)), int(plain.get("batch", 1))


def as_metric(name: str, value: Any) -> Metric | None:
    """Return a value of a simple model as a metric: a number, or a metric as plain data; None for anything else."""
    if isinstance(value, Mapping):
        return Metric.from_json(value) if "value" in value else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return Metric(float(value), kind_of(name).unit)


def _key(configuration: Mapping[str, Any]) -> str:
    return key_of({}, configuration, {}, {})


def _ends(metric: Metric) -> list[Metric]:
    ends = (metric.value,) if metric.low is None or metric.high is None else (metric.low, metric.high)
    return [Metric(end, metric.unit) for end in ends]
