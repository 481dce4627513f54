"""What is known of each configuration: its trials, taken together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, stdev
from typing import Final

from rheostat.core.goals import Limit
from rheostat.core.knob import Value
from rheostat.core.metrics import Metric, metric_kind
from rheostat.core.score import QUALITY
from rheostat.core.space import Space
from rheostat.core.trial import Trial

__all__ = ["CONFIRMATION", "Evidence", "gathered", "improvements", "optimistic", "pooled"]

CONFIRMATION: Final = "confirmation"
"""The strategy of trials that measure again what was chosen."""

_QUANTILE = 0.9


@dataclass(frozen=True)
class Evidence:
    """A configuration and every trial of it.

    Attributes:
        configuration: Canonical.
        trials: In the order of their numbers; at least one.
    """

    configuration: Mapping[str, Value]
    trials: tuple[Trial, ...]

    @cached_property
    def fidelity(self) -> float:
        """The highest fidelity at which it worked; 0 where it never did."""
        return max((trial.fidelity for trial in self.trials if trial.ok), default=0.0)

    @property
    def full(self) -> bool:
        """Whether it was measured in full, and worked."""
        return self.fidelity >= 1.0

    @property
    def failed(self) -> bool:
        """Whether the latest trial of the highest fidelity that was tried did not work."""
        highest = max(trial.fidelity for trial in self.trials)
        return not next(trial.ok for trial in reversed(self.trials) if trial.fidelity == highest)

    @cached_property
    def counted(self) -> tuple[Trial, ...]:
        """The trials that say most: those that worked at the highest fidelity."""
        return tuple(trial for trial in self.trials if trial.ok and trial.fidelity == self.fidelity)

    @cached_property
    def confirmations(self) -> tuple[Trial, ...]:
        """The measurements that were made after it was chosen, to confirm that; those that failed, too."""
        return tuple(trial for trial in self.trials if trial.strategy == CONFIRMATION)

    @cached_property
    def metrics(self) -> Mapping[str, Metric]:
        """All trials that say most, together."""
        return pooled([trial.measurement.metrics for trial in self.counted])

    @cached_property
    def verdict_metrics(self) -> Mapping[str, Metric]:
        """What limits are checked on: the confirmations alone where there are some, nothing where one failed.

        A configuration is chosen because its measurement was good, and so that measurement is a little too good.
        """
        if not self.confirmations:
            return self.metrics
        if not all(trial.ok for trial in self.confirmations):
            return {}
        return pooled([trial.measurement.metrics for trial in self.confirmations])

    @property
    def number(self) -> int:
        """Number of the trial that says most."""
        return (self.confirmations or self.counted or self.trials)[-1].number

    @property
    def attempts(self) -> int:
        """How often it was measured in full, failures and confirmations included: the number of the next repeat."""
        return sum(trial.fidelity == 1.0 for trial in self.trials)

    def at(self, fidelity: float) -> Mapping[str, Metric] | None:
        """Return its metrics at a fidelity; None where it was not measured there."""
        found = [trial.measurement.metrics for trial in self.trials if trial.ok and trial.fidelity == fidelity]
        return pooled(found) if found else None

    def straddled(self, limits: Sequence[Limit], baseline: Mapping[str, Metric]) -> tuple[Limit, ...]:
        """Return the limits that lie within the interval of their metric: noise decides whether they are kept."""
        found = []
        for limit in limits:
            metric, asked = self.metrics.get(limit.metric), limit.asked(baseline)
            if metric is None or metric.low is None or metric.high is None or math.isnan(asked):
                continue
            if metric.low < asked < metric.high:
                found.append(limit)
        return tuple(found)


def gathered(trials: Iterable[Trial], space: Space) -> dict[str, Evidence]:
    """Return the evidence of every configuration by its key, in the order in which they were first measured."""
    found: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda one: one.number):
        found.setdefault(space.key(trial.configuration), []).append(trial)
    return {key: Evidence(each[0].configuration, tuple(each)) for key, each in found.items()}


def pooled(repeats: Sequence[Mapping[str, Metric]]) -> dict[str, Metric]:
    """Return repeated measurements as one: means, with the spread inside each and between them in the interval.

    Quality is judged on the same rows each time: repeats do not narrow its interval.

    Example:
        >>> twice = [{"latency_p50": Metric(1.0, "s", 0.9, 1.1)}, {"latency_p50": Metric(1.0, "s", 0.9, 1.1)}]
        >>> found = pooled(twice)["latency_p50"]
        >>> round(found.low, 3), round(found.high, 3)
        (0.929, 1.071)
    """
    if len(repeats) < 2:
        return dict(repeats[0]) if repeats else {}
    names = dict.fromkeys(name for metrics in repeats for name in metrics)
    return {name: _together(name, [metrics[name] for metrics in repeats if name in metrics]) for name in names}


def optimistic(metrics: Mapping[str, Metric], gains: Mapping[str, float]) -> dict[str, Metric]:
    """Return what metrics may come to at most: the better end of each interval, and what more fidelity may add.

    Args:
        metrics: Measured at a low fidelity.
        gains: Metric to what it may gain, in its unit.

    Example:
        >>> optimistic({"accuracy": Metric(0.8, "1", 0.78, 0.82)}, {"accuracy": 0.05})["accuracy"].value
        0.87
    """
    found: dict[str, Metric] = {}
    for name, metric in metrics.items():
        if metric.value is None or metric_kind(name).better == "neither":
            found[name] = metric
            continue
        higher = metric_kind(name).better == "higher"
        end = metric.high if higher else metric.low
        best = (metric.value if end is None else end) + (1 if higher else -1) * gains.get(name, 0.0)
        found[name] = replace(metric, value=best, low=None, high=None)
    return found


def improvements(evidence: Iterable[Evidence], low: float) -> dict[str, float] | None:
    """Return by how much each metric got better from a low fidelity to the full one: what nine of ten stay below.

    Args:
        evidence: What is known.
        low: The low fidelity.

    Returns:
        Metric to gain in its unit, at least 0; None where nothing was measured at both.
    """
    seen: dict[str, list[float]] = {}
    for one in evidence:
        before, after = one.at(low), one.at(1.0)
        for name in (before or {}).keys() & (after or {}).keys():
            start, end = (before or {})[name].value, (after or {})[name].value
            if start is not None and end is not None:
                seen.setdefault(name, []).append((end - start) * (1 if metric_kind(name).better == "higher" else -1))
    return {name: max(0.0, _quantile(values)) for name, values in seen.items()} or None


def _together(name: str, repeats: Sequence[Metric]) -> Metric:
    known = [metric for metric in repeats if metric.value is not None]
    values = [metric.value for metric in known if metric.value is not None]
    if len(values) < 2:
        return known[0] if known else repeats[0]
    mean = fmean(values)
    halves = [(metric.high - metric.low) / 2 for metric in known if metric.low is not None and metric.high is not None]
    if len(halves) < len(values):
        return replace(known[-1], value=mean, low=None, high=None)
    if name in QUALITY:
        return replace(known[-1], value=mean, low=mean - fmean(halves), high=mean + fmean(halves))
    inside = math.hypot(*halves) / len(values)
    half = math.hypot(inside, 2 * stdev(values) / math.sqrt(len(values)))
    return replace(known[-1], value=mean, low=mean - half, high=mean + half)


def _quantile(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, math.ceil(_QUANTILE * len(values)) - 1)]
