from __future__ import annotations

import pytest

from rheostat.core.errors import MeasurementError, SettingError
from rheostat.core.metrics import METRICS, Metric, metric_kind, unavailable

ISSUED = (
    "latency_p50", "latency_p95", "latency_p99", "ttft_p50", "tpot_p50", "load_time", "throughput_samples",
    "throughput_tokens", "memory_peak_host", "memory_mean_host", "memory_peak_device", "memory_weights",
    "memory_cache", "compute_utilisation", "macs", "power_mean", "energy_per_sample", "energy_per_token",
    "compression_nominal", "compression_memory", "compression_disk", "cost_per_million_tokens", "accuracy",
    "f1", "perplexity", "agreement",
)  # fmt: skip


def test_every_metric_of_the_format_is_there() -> None:
    assert set(ISSUED) <= set(METRICS)


def test_kinds_are_complete() -> None:
    for name, kind in METRICS.items():
        assert name == kind.name
        assert kind.unit
        assert kind.title
        assert kind.meaning.endswith(".")


def test_json_there_and_back() -> None:
    metric = Metric(1.5, "s", 1.0, 2.0, "sampled", "each 10 ms")
    assert Metric.from_json(metric.to_json()) == metric
    assert Metric.from_json(unavailable("power_mean", "no counter").to_json()).source == "no counter"


def test_what_cannot_be_had_is_no_zero() -> None:
    metric = unavailable("energy_per_token", "no counter")
    assert metric.value is None
    assert metric.provenance == "unavailable"
    assert metric.unit == "J"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((None, "s"), "has a value, or is unavailable"),
        ((1.0, "s", None, None, "unavailable"), "has a value, or is unavailable"),
        ((float("nan"), "s"), "finite"),
        ((1.0, "s", 0.5), "two ends"),
        ((1.0, "s", 0.5, float("inf")), "finite"),
    ],
)
def test_nonsense_is_refused(arguments: tuple[object, ...], words: str) -> None:
    with pytest.raises(MeasurementError, match=words):
        Metric(*arguments)  # type: ignore[arg-type]


def test_data_without_a_unit_is_refused() -> None:
    with pytest.raises(MeasurementError, match="a unit"):
        Metric.from_json({"value": 1.0})


def test_an_unknown_name_is_met_with_the_nearest() -> None:
    with pytest.raises(SettingError, match="latency_p50"):
        metric_kind("latency_p5")
