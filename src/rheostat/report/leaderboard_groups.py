"""What a leaderboard says about measurements before anything is drawn: groups, columns, verdicts, the front."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rheostat.core.comparison import judge
from rheostat.core.measurement import Measurement
from rheostat.core.metrics import METRICS, Metric, MetricKind
from rheostat.core.statistics import Estimate
from rheostat.report.scales import Scale, kind_of, scale_for

__all__ = [
    "BASELINE_NAMES",
    "Group",
    "baselines_of",
    "configuration_text",
    "front_of",
    "grouped",
    "is_plain",
    "knob_text",
    "knobs_of",
    "metrics_of",
    "plain_of",
    "quality_of",
    "speed_verdict",
    "status_text",
    "value_of",
]

QUALITY: Final = ("accuracy", "f1", "perplexity", "agreement")
BASELINE_NAMES: Final = {"majority": "always the commonest class", "linear": "linear model on TF-IDF"}
"""The simple models that stand beside a classifier, in words."""


@dataclass(frozen=True, slots=True)
class Group:
    """The measurements of one model on one workload on one machine, fastest first, failed ones last."""

    model: Mapping[str, Any]
    workload: Mapping[str, Any]
    machine: Mapping[str, Any]
    rows: tuple[Measurement, ...]

    @property
    def title(self) -> str:
        """The model and the workload in a few words."""
        return f"{self.model.get('name', 'unnamed model')}: {self.workload.get('name', 'unnamed workload')}"

    def scale(self, name: str) -> Scale:
        """Return how all values of one metric are written in this group."""
        found = [row.metrics[name] for row in self.rows if name in row.metrics]
        return scale_for(self.kind(name), found)

    def kind(self, name: str) -> MetricKind:
        """Return what a metric is."""
        return kind_of(name, next((row.metrics[name].unit for row in self.rows if name in row.metrics), "1"))


def grouped(measurements: Sequence[Measurement]) -> list[Group]:
    """Return one group for each model, workload and machine, in the order in which they first appear."""
    rows: dict[str, list[Measurement]] = {}
    for one in measurements:
        content = json.dumps([one.model, one.workload, one.machine], sort_keys=True, default=str)
        rows.setdefault(content, []).append(one)
    return [
        Group(found[0].model, found[0].workload, found[0].machine, tuple(sorted(found, key=_fastest_first)))
        for found in rows.values()
    ]


def is_plain(measurement: Measurement) -> bool:
    """Say whether this is the plain model, which every speed-up is measured against.

    ``plain`` of its conditions says so; in records without it, a speed-up of exactly 1.
    """
    if measurement.status != "ok" or "plain" in measurement.conditions:
        return measurement.status == "ok" and measurement.conditions["plain"] is True
    speedup = measurement.metrics.get("speedup")
    return speedup is not None and speedup.value == 1 and speedup.low in (None, 1) and speedup.high in (None, 1)


def plain_of(group: Group) -> Measurement | None:
    """Return the plain model's row, if it was measured."""
    return next((row for row in group.rows if is_plain(row)), None)


def speed_verdict(measurement: Measurement) -> str:
    """Return ``tied with plain``, ``slower than plain``, or nothing for what is faster or unknown.

    Tied: the 95 % interval of the speed-up contains 1, or the speed-up is nearer to 1 than
    `rheostat.core.comparison.MARGIN`, or there is no interval.
    """
    speedup = measurement.metrics.get("speedup")
    if speedup is None or speedup.value is None or is_plain(measurement):
        return ""
    if speedup.low is None or speedup.high is None:
        return "tied with plain"
    judgement = judge(Estimate(speedup.value, speedup.low, speedup.high), "higher")
    return {"tied": "tied with plain", "worse": "slower than plain"}.get(judgement, "")


def status_text(measurement: Measurement) -> str:
    """Return the status in words, with its reason: ``out of memory: needs 3.1 GiB``."""
    words = measurement.status.replace("-", " ")
    return f"{words}: {measurement.reason}" if measurement.reason else words


def configuration_text(configuration: Mapping[str, Any]) -> str:
    """Return a configuration in a few words.

    Example:
        >>> configuration_text({"precision": "int8", "tokens": 0.5})
        'int8, tokens 0.5'
    """
    parts = [
        str(value) if name == "precision" else f"{name.replace('_', ' ')} {knob_text(value)}"
        for name, value in configuration.items()
    ]
    return ", ".join(parts) or "as it is"


def knob_text(value: Any) -> str:
    """Return the value of a knob as text."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, sort_keys=True, default=str)
    return str(value)


def knobs_of(group: Group) -> list[str]:
    """Return the names of the knobs that some row sets."""
    return list(dict.fromkeys(name for row in group.rows for name in row.configuration))


def metrics_of(group: Group) -> tuple[list[str], dict[str, str]]:
    """Return the metrics that some row has a value of, and those that no row has, each with the reason.

    Speed-up and quality come first, then the order of `METRICS`, then what others have added.
    """
    names = list(dict.fromkeys(name for row in group.rows for name in row.metrics))
    order = {name: place for place, name in enumerate(dict.fromkeys(("speedup", *QUALITY, *METRICS)))}
    names.sort(key=lambda name: order.get(name, len(order)))
    there = [name for name in names if any(value_of(row, name) is not None for row in group.rows)]
    missing = {name: _reasons(group, name) for name in names if name not in there}
    return there, missing


def value_of(row: Measurement, name: str) -> float | None:
    """Return a row's value of a metric; None where it has none."""
    metric = row.metrics.get(name)
    return None if metric is None else metric.value


def quality_of(group: Group) -> str:
    """Return the metric of quality that the group is about; empty where none was measured."""
    there, _ = metrics_of(group)
    return next((name for name in QUALITY if name in there), "")


def front_of(group: Group) -> list[Measurement]:
    """Return the rows that no other one beats in speed-up and quality at once, slowest first."""
    quality = quality_of(group)
    sign = -1.0 if group.kind(quality).better == "lower" else 1.0
    places = [
        (speed, sign * good, row)
        for row in group.rows
        if (speed := value_of(row, "speedup")) is not None and (good := value_of(row, quality)) is not None
    ]
    free = [place for place in places if not any(_beats(other, place) for other in places)]
    return [row for _, _, row in sorted(free, key=lambda place: place[:2])]


def baselines_of(group: Group) -> dict[str, dict[str, Metric]]:
    """Return the simple models of a group: name to metric to value, as `Measurement.conditions` holds them."""
    found: dict[str, dict[str, Metric]] = {}
    for row in group.rows:
        for name, values in row.conditions.get("baselines", {}).items():
            metrics = {metric: Metric(float(value), "1") for metric, value in values.items()}
            found.setdefault(str(name), {}).update(metrics)
    return found


def _beats(one: tuple[float, float, Measurement], other: tuple[float, float, Measurement]) -> bool:
    return one[0] >= other[0] and one[1] >= other[1] and one[:2] != other[:2]


def _reasons(group: Group, name: str) -> str:
    return "; ".join(
        _unique(row.metrics[name].source or "no reason given" for row in group.rows if name in row.metrics)
    )


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _fastest_first(row: Measurement) -> tuple[bool, float]:
    speedup = value_of(row, "speedup")
    return row.status != "ok", -(speedup or 0.0)
