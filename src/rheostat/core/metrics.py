"""The metrics of a measurement: their names, units and direction, and what a measured value says about itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from rheostat.core.errors import MeasurementError, SettingError
from rheostat.core.names import suggest

__all__ = ["METRICS", "Metric", "MetricKind", "Provenance", "metric_kind", "unavailable"]

Provenance = Literal["counter", "sampled", "estimated", "unavailable"]
"""Where a value comes from: read off a counter or a clock, sampled over time, estimated, or not to be had."""

Better = Literal["lower", "higher", "neither"]


@dataclass(frozen=True, slots=True)
class MetricKind:
    """What a metric is.

    Attributes:
        name: Its name in records.
        unit: SI unit of the value; ``1`` for shares and ratios.
        better: Which direction is better; ``neither`` where it is context.
        title: A few words for tables.
        meaning: The definition, in one sentence.
    """

    name: str
    unit: str
    better: Better
    title: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured value.

    Attributes:
        value: In SI units; None where it is unavailable, never 0 instead.
        unit: The unit.
        low: Lower end of the 95 % interval; None where there is no interval.
        high: Upper end.
        provenance: Where the value comes from.
        source: The instrument or the reason, in a few words: ``"VmHWM"``, ``"no energy counter"``.
    """

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    provenance: Provenance = "counter"
    source: str = ""

    def __post_init__(self) -> None:
        numbers = [number for number in (self.value, self.low, self.high) if number is not None]
        if any(not math.isfinite(number) for number in numbers):
            raise MeasurementError("A metric is a finite number.", given=numbers)
        if (self.value is None) != (self.provenance == "unavailable"):
            raise MeasurementError("A metric has a value, or is unavailable.", given=f"{self.value}, {self.provenance}")
        if (self.low is None) != (self.high is None) or (self.value is None and self.low is not None):
            raise MeasurementError("An interval has two ends and a value.", given=f"{self.low} to {self.high}")

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "value": self.value,
            "unit": self.unit,
            "low": self.low,
            "high": self.high,
            "provenance": self.provenance,
            "source": self.source,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Metric:
        """Return what `to_json` made data of.

        Raises:
            MeasurementError: If it is not that.
        """
        try:
            return cls(**{name: data[name] for name in cls.__slots__ if name in data})
        except TypeError as error:
            raise MeasurementError("A metric has a value, a unit and a provenance.", given=dict(data)) from error


def unavailable(name: str, reason: str) -> Metric:
    """Return a metric that this machine or this workload cannot provide.

    Args:
        name: A known metric.
        reason: Why, in a few words.
    """
    return Metric(None, metric_kind(name).unit, provenance="unavailable", source=reason)


def metric_kind(name: str) -> MetricKind:
    """Return what a metric is.

    ``TASK/METRIC`` is a metric of a task of lm-evaluation-harness; whether lower is better goes by the harness's own
    registry of metrics.

    Raises:
        SettingError: If nobody knows the name; with the nearest known one.
    """
    task, slash, measure = name.partition("/")
    if slash and task and measure:
        lower = measure.partition(",")[0] in _LOWER
        return MetricKind(name, "1", "lower" if lower else "higher", name, f"{measure} of the task {task}.")
    if name not in METRICS:
        raise SettingError("A metric has a known name.", given=repr(name), mend=suggest(name, METRICS))
    return METRICS[name]


_LOWER = frozenset({"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte", "brier_score", "ter"})

_KINDS = (
    MetricKind("latency_p50", "s", "lower", "latency, p50", "Median time of a request."),
    MetricKind("latency_p90", "s", "lower", "latency, p90", "Nine of ten requests take at most this long."),
    MetricKind("latency_p95", "s", "lower", "latency, p95", "19 of 20 requests take at most this long."),
    MetricKind("latency_p99", "s", "lower", "latency, p99", "99 of 100 requests take at most this long."),
    MetricKind("ttft_p50", "s", "lower", "time to first token", "Median time from a request to its first token."),
    MetricKind("tpot_p50", "s", "lower", "time per token", "Median time for each token after the first."),
    MetricKind("load_time", "s", "lower", "load", "From the start of loading to a ready model."),
    MetricKind("first_call", "s", "lower", "first call", "Time of the very first request after loading."),
    MetricKind("speedup", "1", "higher", "speed-up", "The plain model's time over this one's, paired in one run."),
    MetricKind("throughput_samples", "1/s", "higher", "samples a second", "Rows done over the time they took (ST)."),
    MetricKind("throughput_tokens", "1/s", "higher", "tokens a second",
               "Tokens over time: generated ones for generate (IT), read ones otherwise (TT in training)."),
    MetricKind("memory_peak_host", "B", "lower", "peak memory",
               "Most resident memory in the life of the process, loading included (AMU)."),
    MetricKind("memory_peak_running", "B", "lower", "peak memory, running", "Most resident memory after warm-up."),
    MetricKind("memory_mean_host", "B", "lower", "mean memory",
               "Time-weighted mean of resident memory while requests ran (AMU)."),
    MetricKind("memory_peak_device", "B", "lower", "peak device memory", "Most accelerator memory of the process."),
    MetricKind("memory_mean_device", "B", "lower", "mean device memory",
               "Time-weighted mean of accelerator memory while requests ran."),
    MetricKind("memory_weights", "B", "lower", "weights", "Bytes of the model's weights in memory."),
    MetricKind("memory_cache", "B", "lower", "cache", "Bytes of the key-value cache after the prompt."),
    MetricKind("memory_activations", "B", "lower", "activations",
               "Peak while running, less what was resident before the first request."),
    MetricKind("compute_utilisation", "1", "higher", "compute utilisation",
               "Achieved floating-point operations a second over the machine's own measured peak (PCU)."),
    MetricKind("processor_time_per_sample", "s", "lower", "processor time a sample",
               "Processor time of the process, all its threads together, for a row."),
    MetricKind("processor_utilisation", "1", "neither", "processor in use",
               "Share of the machine's processor time that the process used, as the system counts it."),
    MetricKind("macs", "1", "lower", "counted MACs", "Multiply-accumulates of a request, counted."),
    MetricKind("power_mean", "W", "lower", "mean power", "Energy while requests ran over their time (AEC)."),
    MetricKind("energy_per_sample", "J", "lower", "energy a sample", "Gross energy over the rows done."),
    MetricKind("energy_per_token", "J", "lower", "energy a token", "Gross energy over the tokens done."),
    MetricKind("energy_per_sample_net", "J", "lower", "energy a sample, net", "The same, less the idle machine's."),
    MetricKind("energy_per_token_net", "J", "lower", "energy a token, net", "The same, less the idle machine's."),
    MetricKind("compression_nominal", "1", "higher", "compression, nominal",
               "Bits of a weight in the plain model over bits of a weight here."),
    MetricKind("compression_memory", "1", "higher", "compression, memory",
               "Memory that the plain model took when it was loaded over what this one took."),
    MetricKind("compression_disk", "1", "higher", "compression, disk", "The plain model's bytes on disk over these."),
    MetricKind("compression_nominal_quality", "1", "higher", "MCR, nominal",
               "Nominal compression times the ratio of quality to the plain model's (MCR as published)."),
    MetricKind("compression_memory_quality", "1", "higher", "MCR, memory",
               "Memory compression times the ratio of quality to the plain model's."),
    MetricKind("compression_disk_quality", "1", "higher", "MCR, disk",
               "Disk compression times the ratio of quality to the plain model's."),
    MetricKind("cost_per_million_tokens", "USD", "lower", "cost of a million tokens",
               "Price of the machine's time for a million tokens, from the price table."),
    MetricKind("accuracy", "1", "higher", "accuracy", "Share of rows that are classified right."),
    MetricKind("f1", "1", "higher", "F1", "Mean over classes of the harmonic mean of precision and recall."),
    MetricKind("calibration_error", "1", "lower", "calibration error",
               "Mean distance of confidence and accuracy over 15 equal bins of confidence, weighted by rows."),
    MetricKind("perplexity", "1", "lower", "perplexity",
               "Exponential of the mean loss of a token that follows a prompt read under the configuration."),
    MetricKind("agreement", "1", "higher", "agreement", "Share of answers that are the plain model's."),
)  # fmt: skip

METRICS: Final[Mapping[str, MetricKind]] = {kind.name: kind for kind in _KINDS}
"""Every metric by name, in the order of tables."""
