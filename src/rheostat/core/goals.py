"""Goals: what a search makes better, and the limits that a configuration has to keep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rheostat.core.errors import SettingError
from rheostat.core.metrics import Metric, metric_kind

__all__ = ["Goals", "Limit", "LimitVerdict", "Objective"]

Metrics = Mapping[str, Metric]


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric to make better.

    Attributes:
        metric: Its name, see `rheostat.core.metrics.METRICS`.

    Raises:
        SettingError: If nobody knows the metric, or none of its directions is better.

    Example:
        >>> Objective("accuracy").value({"accuracy": Metric(0.9, "1")})
        -0.9
    """

    metric: str

    def __post_init__(self) -> None:
        if metric_kind(self.metric).better == "neither":
            raise SettingError("An objective has a better direction.", given=repr(self.metric))

    @property
    def sign(self) -> int:
        """1 where lower is better, -1 where higher is."""
        return -1 if metric_kind(self.metric).better == "higher" else 1

    def value(self, metrics: Metrics) -> float | None:
        """Return the value, turned so that lower is better; None where it was not measured."""
        found = metrics.get(self.metric)
        return None if found is None or found.value is None else self.sign * found.value

    def interval(self, metrics: Metrics) -> tuple[float, float] | None:
        """Return the 95 % interval, turned likewise; the value twice where it has none."""
        found = metrics.get(self.metric)
        if found is None or found.value is None:
            return None
        ends = (found.value, found.value) if found.low is None or found.high is None else (found.low, found.high)
        low, high = sorted(self.sign * end for end in ends)
        return low, high


@dataclass(frozen=True, slots=True)
class LimitVerdict:
    """How a configuration stands to a limit.

    Attributes:
        limit: The limit.
        asked: The value that the limit comes to, in the metric's unit.
        found: The measured value; None where there is none.
        excess: By how much it is passed, as a share of what is asked (of the baseline for a difference); 0 where it is
            kept, infinity where the metric is missing.
    """

    limit: Limit
    asked: float
    found: float | None
    excess: float

    @property
    def kept(self) -> bool:
        """Whether the limit is kept."""
        return self.excess == 0.0


@dataclass(frozen=True, slots=True)
class Limit:
    """A hard limit: the metric is at most, or at least, so much.

    Attributes:
        metric: Its name.
        bound: ``most`` or ``least``.
        value: The number, in SI units; of a ``difference`` what the metric may lose against the baseline, of a
            ``ratio`` its share of the baseline.
        relative_to: ``nothing`` for a plain number, or how the baseline comes in. A ``difference`` counts in the worse
            direction: ``Limit("accuracy", "least", 0.01, "difference")`` is at most one point below the baseline.

    Raises:
        SettingError: If nobody knows the metric, or the value is no finite number.

    Example:
        >>> drop = Limit("accuracy", "least", 0.01, "difference")
        >>> drop.verdict({"accuracy": Metric(0.88, "1")}, {"accuracy": Metric(0.9, "1")}).kept
        False
    """

    metric: str
    bound: Literal["most", "least"]
    value: float
    relative_to: Literal["nothing", "difference", "ratio"] = "nothing"

    def __post_init__(self) -> None:
        metric_kind(self.metric)
        if not math.isfinite(self.value):
            raise SettingError(f"The limit of '{self.metric}' is a finite number.", given=self.value)

    @property
    def needs_baseline(self) -> bool:
        """Whether it means something only beside a baseline."""
        return self.relative_to != "nothing"

    def asked(self, baseline: Metrics) -> float:
        """Return the number that the metric must not pass; not a number where the baseline lacks the metric."""
        if self.relative_to == "nothing":
            return self.value
        found = baseline.get(self.metric)
        if found is None or found.value is None:
            return math.nan
        if self.relative_to == "ratio":
            return self.value * found.value
        return found.value - self.value if self.bound == "least" else found.value + self.value

    def verdict(self, metrics: Metrics, baseline: Metrics) -> LimitVerdict:
        """Say whether a configuration keeps it; a metric that is missing breaks it."""
        asked = self.asked(baseline)
        metric = metrics.get(self.metric)
        found = None if metric is None else metric.value
        if found is None or math.isnan(asked):
            return LimitVerdict(self, asked, found, math.inf)
        passed = found - asked if self.bound == "most" else asked - found
        # What arithmetic adds to a number that was read as text is not a loss.
        if passed <= 1e-12 * max(abs(asked), 1.0):
            return LimitVerdict(self, asked, found, 0.0)
        return LimitVerdict(self, asked, found, passed / (abs(asked) or 1.0))


@dataclass(frozen=True, slots=True)
class Goals:
    """What makes a configuration better, and what it has to keep.

    Attributes:
        objectives: What to make better; at least one.
        limits: What has to be kept.

    Raises:
        SettingError: If there is no objective, or one comes twice.
    """

    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...] = ()

    def __post_init__(self) -> None:
        names = [objective.metric for objective in self.objectives]
        if not names or len(set(names)) != len(names):
            raise SettingError("A search has objectives, each once.", given=names)

    def values(self, metrics: Metrics) -> tuple[float, ...] | None:
        """Return the objectives, turned so that lower is better; None where one was not measured."""
        found = [objective.value(metrics) for objective in self.objectives]
        return None if None in found else tuple(value for value in found if value is not None)

    def verdicts(self, metrics: Metrics, baseline: Metrics) -> tuple[LimitVerdict, ...]:
        """Return how a configuration stands to each limit."""
        return tuple(limit.verdict(metrics, baseline) for limit in self.limits)

    def excess(self, metrics: Metrics, baseline: Metrics) -> float:
        """Return by how much all limits together are passed: 0 where each is kept (Deb's rule compares by this)."""
        return sum(verdict.excess for verdict in self.verdicts(metrics, baseline))

    def margins(self, metrics: Metrics, baseline: Metrics) -> tuple[float, ...] | None:
        """Return by how much each limit is passed, as a share of what is asked; negative where there is room.

        Returns:
            One for each limit; None where a metric is missing.
        """
        found = []
        for verdict in self.verdicts(metrics, baseline):
            if verdict.found is None or math.isnan(verdict.asked):
                return None
            passed = verdict.found - verdict.asked
            found.append((passed if verdict.limit.bound == "most" else -passed) / (abs(verdict.asked) or 1.0))
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return them as plain data."""
        return {
            "objectives": [objective.metric for objective in self.objectives],
            "limits": [{name: getattr(limit, name) for name in Limit.__slots__} for limit in self.limits],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Goals:
        """Return what `to_json` made data of.

        Raises:
            SettingError: If it is not that.
        """
        try:
            limits = tuple(Limit(**limit) for limit in data["limits"])
            return cls(tuple(map(Objective, data["objectives"])), limits)
        except (KeyError, TypeError) as error:
            raise SettingError("Goals have objectives and limits.", given=type(error).__name__) from error
