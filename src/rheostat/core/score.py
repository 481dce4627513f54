"""What a configuration gains over a baseline: AE-LLM's score, and the number that a recommendation goes by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rheostat.core.goals import Objective
from rheostat.core.metrics import Metric, metric_kind

__all__ = ["ALLOWED_LOSS", "QUALITY", "Score", "efficiency_score", "gain", "preference", "quality_lost"]

Metrics = Mapping[str, Metric]

ALLOWED_LOSS: Final = 1.2
"""Points of quality that AE-LLM's configurations may lose."""

QUALITY: Final = ("accuracy", "f1", "perplexity", "agreement", "calibration_error")
"""Metrics that say how good answers are; what else has a better direction says what they cost."""

_COSTS: Final = {
    "latency": ("latency_p50", "latency_p95", "latency_p90", "latency_p99"),
    "memory": ("memory_peak_device", "memory_peak_host", "memory_peak_running"),
    "energy": ("energy_per_sample", "energy_per_token"),
}
"""What the score is made of: the first metric of each that both sides have."""


@dataclass(frozen=True, slots=True)
class Score:
    """AE-LLM's score of a configuration.

    Attributes:
        value: Geometric mean of the gains; None where one of them was not measured.
        gains: ``latency``, ``memory`` and ``energy``: how many times less than the baseline; None where unknown.
        metrics: Which metric stands for each.
        lost: Points of quality lost against the baseline, below 0 where it won; None where unknown. A point is 0.01 of
            a share, or 1 % of perplexity.
        energy: Where the energies come from: ``counter``, ``sampled``, ``estimated`` or ``unavailable``.
    """

    value: float | None
    gains: Mapping[str, float | None]
    metrics: Mapping[str, str]
    lost: float | None
    energy: str

    @property
    def allowed(self) -> bool:
        """Whether no more quality is lost than AE-LLM allows."""
        return self.lost is not None and self.lost <= ALLOWED_LOSS

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        plain = {"value": self.value, "gains": dict(self.gains), "metrics": dict(self.metrics)}
        return {**plain, "lost": self.lost, "allowed": self.allowed, "energy": self.energy}


def efficiency_score(metrics: Metrics, baseline: Metrics, rows: tuple[int, int] = (1, 1)) -> Score:
    """Return AE-LLM's score: the geometric mean of what is gained in latency, memory and energy.

    The published one compares the latency of equal requests. Here requests may hold different numbers of rows: the time
    of a row is compared, so that smaller requests are no gain. A gain that was not measured leaves no score, rather
    than one of the others.

    Args:
        metrics: Of the configuration.
        baseline: Of the default configuration.
        rows: Rows of a request, of the configuration and of the baseline.

    Example:
        >>> plain = {"latency_p50": Metric(0.2, "s"), "memory_peak_host": Metric(4.0, "B")}
        >>> less = {"latency_p50": Metric(0.1, "s"), "memory_peak_host": Metric(2.0, "B")}
        >>> energy = {"energy_per_sample": Metric(8.0, "J")}
        >>> efficiency_score({**less, "energy_per_sample": Metric(1.0, "J")}, {**plain, **energy}).gains
        {'latency': 2.0, 'memory': 2.0, 'energy': 8.0}
    """
    gains: dict[str, float | None] = {}
    used: dict[str, str] = {}
    for part, names in _COSTS.items():
        both = [name for name in names if _value(metrics, name) and _value(baseline, name)]
        used.update({part: both[0]} if both else {})
        found = gain(both[0], metrics, baseline, rows) if both else None
        gains[part] = found
    known = [found for found in gains.values() if found is not None]
    value = math.exp(sum(map(math.log, known)) / len(known)) if len(known) == len(gains) else None
    sources = [one[used["energy"]].provenance for one in (metrics, baseline)] if "energy" in used else ["unavailable"]
    source = next((each for each in ("estimated", "sampled") if each in sources), sources[0])
    return Score(value, gains, used, quality_lost(metrics, baseline), source)


def gain(name: str, metrics: Metrics, baseline: Metrics, rows: tuple[int, int] = (1, 1)) -> float | None:
    """Return how many times better than the baseline a metric is; None where that cannot be said.

    Two measurements that lie minutes apart tell a slow spell of the machine from a slow configuration no more than one
    does. Where both have ``speedup``, which is paired with the baseline's own setting, latency and throughput are
    compared as if the machine had been as fast both times. The baseline's own ``speedup`` is 1 by what it means: what
    else was measured there is noise, and not divided by.

    Args:
        name: The metric. Latencies are compared by row.
        metrics: Of the configuration.
        baseline: Of the default configuration.
        rows: Rows of a request, of the configuration and of the baseline.
    """
    found = _ratio(name, metrics, baseline, rows)
    if found is None or metrics == baseline or not name.startswith(("latency_", "throughput_")):
        return found
    paired, apart = _value(metrics, "speedup"), _ratio("latency_p50", metrics, baseline, rows)
    # On a busy machine a few rounds can make a speed-up below 0, which says nothing.
    if not paired or paired < 0 or not apart or not _value(baseline, "speedup"):
        return found
    return found * paired / apart


def _ratio(name: str, metrics: Metrics, baseline: Metrics, rows: tuple[int, int]) -> float | None:
    here, there = _value(metrics, name), _value(baseline, name)
    if here is None or there is None or here <= 0 or there <= 0:
        return None
    ratio = here / there if metric_kind(name).better == "higher" else there / here
    return ratio * rows[0] / rows[1] if name.startswith("latency_") else ratio


def quality_lost(metrics: Metrics, baseline: Metrics) -> float | None:
    """Return the points of quality lost, by the first quality metric that both have; None where there is none.

    Example:
        >>> round(quality_lost({"accuracy": Metric(0.88, "1")}, {"accuracy": Metric(0.9, "1")}), 6)
        2.0
    """
    for name in QUALITY:
        here, there = _value(metrics, name), _value(baseline, name)
        if here is None or there is None:
            continue
        if name == "perplexity":
            return 100 * math.log(here / there)
        return 100 * (there - here if metric_kind(name).better == "higher" else here - there)
    return None


def preference(
    objectives: Sequence[Objective],
    metrics: Metrics,
    baseline: Metrics,
    *,
    weights: Mapping[str, float] | None = None,
    rows: tuple[int, int] = (1, 1),
) -> float | None:
    """Return the number that a recommendation goes by: the weighted geometric mean of the gains of the objectives.

    Args:
        objectives: What is to be better.
        metrics: Of the configuration.
        baseline: Of the default configuration.
        weights: Objective to weight, at least 0. Without, 1 for what costs and 0 for quality, which limits look after;
            where nothing costs, 1 for all.
        rows: Rows of a request, of the configuration and of the baseline.

    Returns:
        1 for the baseline itself, higher is better; None where an objective that counts was not measured.
    """
    names = [objective.metric for objective in objectives]
    chosen = {name: 0.0 if name in QUALITY else 1.0 for name in names} if weights is None else dict(weights)
    if not any(chosen.get(name, 0.0) for name in names):
        chosen = dict.fromkeys(names, 1.0)
    counted = {name: chosen[name] for name in names if chosen.get(name, 0.0) > 0}
    gains = {name: gain(name, metrics, baseline, rows) for name in counted}
    if any(found is None for found in gains.values()):
        return None
    total = sum(weight * math.log(gains[name] or 1.0) for name, weight in counted.items())
    return math.exp(total / sum(counted.values()))


def _value(metrics: Metrics, name: str) -> float | None:
    found = metrics.get(name)
    return None if found is None else found.value
