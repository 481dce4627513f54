from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rheostat.core.efficiency import Energy
from rheostat.core.metrics import METRICS, Metric
from rheostat.core.prices import PriceTable
from rheostat.core.traces import Trace
from rheostat.measure.bench.results import Surroundings, metrics_of
from rheostat.measure.bench.session import Found, joined

MB = 1_000_000


def found(seconds: float = 0.1, **changes: Any) -> Found:
    """Return findings on four rounds of two passes over two requests of 4 rows and 40 tokens each."""
    one = {"latency": seconds, "ttft": seconds / 2, "tpot": seconds / 10}
    values: dict[str, Any] = {
        "loaded": {"load_time": 2.0, "resident_before": 400 * MB, "resident_after": 500 * MB},
        "warmed": {"first_call": 0.5, "times": [seconds], "peak": 560 * MB, "peak_reset": True},
        "described": {
            "rows": [4, 4],
            "tokens": [40, 40],
            "macs": [10**9, 3 * 10**9],
            "cache": 1000,
            "weights": 90 * MB,
            "bits": 32.0,
        },
        "turns": [[[one, one], [one, one]] for _ in range(4)],
        "touched": (16, 160),
        "turn_seconds": [5 * seconds] * 4,
        "memory": [Trace((0.0, 1.0), (500.0 * MB, 540.0 * MB)), Trace((0.0, 3.0), (540.0 * MB, 540.0 * MB))],
        "ratios": [0.5] * 4,
        "busy_seconds": 20 * seconds,
        "peaks": (560.0 * MB, 550.0 * MB),
    }
    return Found(**{**values, **changes})


def around(**changes: Any) -> Surroundings:
    values: dict[str, Any] = {
        "plain": found(0.2),
        "plain_reason": "",
        "peak_flops": 1e12,
        "cores": 2,
        "disk": 50 * MB,
        "plain_disk": 100 * MB,
        "energy_reason": "no energy counter",
    }
    return Surroundings(**{**values, **changes})


def test_times_and_throughputs() -> None:
    metrics = metrics_of([found()], around())
    assert metrics["latency_p50"].value == pytest.approx(0.1)
    assert metrics["ttft_p50"].value == pytest.approx(0.05)
    assert metrics["tpot_p50"].value == pytest.approx(0.01)
    assert metrics["throughput_samples"].value == pytest.approx(40)
    assert metrics["throughput_tokens"].value == pytest.approx(400)
    assert metrics["load_time"].value == 2.0
    assert metrics["speedup"].value == pytest.approx(2.0)


def test_memory() -> None:
    metrics = metrics_of([found()], around())
    # 520 MB over a second and 540 MB over three: weighted by time.
    assert metrics["memory_mean_host"].value == pytest.approx(535 * MB)
    assert metrics["memory_mean_host"].provenance == "sampled"
    assert metrics["memory_peak_host"].value == 560 * MB
    assert metrics["memory_activations"].value == 50 * MB
    assert metrics["memory_cache"].value == 1000


def test_work() -> None:
    metrics = metrics_of([found()], around())
    assert metrics["macs"].value == 2e9
    # 2 x 4e9 operations in 0.2 s, of 1e12 a second.
    assert metrics["compute_utilisation"].value == pytest.approx(0.04)
    # 2 s of processor time in 2 s on two cores.
    assert metrics["processor_utilisation"].value == pytest.approx(0.5)


def test_compression_is_three_numbers_and_each_times_quality() -> None:
    small = found(described={**found().described, "weights": 30 * MB, "bits": 8.0})
    small.loaded["resident_after"] = 450 * MB
    quality = ({"accuracy": Metric(0.5095, "1")}, {"accuracy": Metric(0.5523, "1")})
    metrics = metrics_of([small], around(quality=quality))
    assert metrics["compression_nominal"].value == 4.0
    assert metrics["compression_memory"].value == 2.0
    assert metrics["compression_disk"].value == 2.0
    assert metrics["compression_nominal_quality"].value == pytest.approx(3.690, abs=5e-4)
    assert metrics["compression_memory_quality"].value == pytest.approx(2 * 0.5095 / 0.5523)


def test_perplexity_counts_the_other_way_round() -> None:
    quality = ({"perplexity": Metric(20.0, "1")}, {"perplexity": Metric(10.0, "1")})
    assert metrics_of([found()], around(quality=quality))["compression_disk_quality"].value == pytest.approx(1.0)


def test_energy_gross_and_net() -> None:
    # Four turns of two passes over eight rows and one untimed request of four: 80 rows.
    measured = found(energy=Energy(160.0, 4.0))
    metrics = metrics_of([measured], around(idle_watts=10.0))
    assert metrics["power_mean"].value == 40.0
    assert metrics["energy_per_sample"].value == 2.0
    assert metrics["energy_per_sample_net"].value == 1.5
    assert metrics["energy_per_token"].value == pytest.approx(0.2)
    assert metrics["energy_per_token"].provenance == "counter"
    assert metrics_of([measured], around(energy_estimated=True))["power_mean"].provenance == "estimated"


def test_what_cannot_be_had_says_why_and_is_no_zero() -> None:
    metrics = metrics_of([found()], around())
    for name in ("power_mean", "energy_per_token", "cost_per_million_tokens", "memory_peak_device"):
        assert metrics[name].value is None
        assert metrics[name].source
    assert metrics["energy_per_token"].source == "no energy counter"


def test_without_a_plain_model_the_rest_is_there() -> None:
    metrics = metrics_of([found(ratios=[])], around(plain=None, plain_reason="out-of-memory: too large"))
    assert metrics["speedup"].source == "the plain model did not run: out-of-memory: too large"
    assert metrics["compression_memory"].value is None
    assert metrics["latency_p50"].value is not None


def test_cost() -> None:
    metrics = metrics_of([found()], around(prices=PriceTable({"cpu": 0.36}, "EUR")))
    assert metrics["cost_per_million_tokens"].value == pytest.approx(0.25)
    assert metrics["cost_per_million_tokens"].unit == "EUR"


def test_an_interval_holds_what_differs_from_sitting_to_sitting() -> None:
    sittings = [found(seconds, peaks=(peak, peak)) for seconds, peak in ((0.1, 5e8), (0.2, 6e8), (0.3, 7e8))]
    metrics = metrics_of(sittings, around())
    assert metrics["latency_p50"].value == pytest.approx(0.2)
    # Student's: 4.303 x 0.1 / sqrt(3) on both sides, but no time is below 0.
    assert metrics["latency_p50"].low == 0.0
    assert metrics["latency_p50"].high == pytest.approx(0.2 + 4.303 * 0.1 / 3**0.5)
    assert metrics["memory_peak_host"].value == 7e8
    assert metrics["memory_peak_host"].low == pytest.approx(7e8 - 4.303 * 1e8 / 3**0.5)
    assert metrics["macs"].low is None
    assert len(joined(sittings).turns) == 12
    assert metrics["energy_per_token"].value is None


def test_what_a_sitting_lacks_is_lacking() -> None:
    assert metrics_of([found(), found(peaks=(None, None))], around())["memory_peak_host"].value is None


def test_intervals_resample_rounds() -> None:
    rounds = [0.1, 0.1, 0.2, 0.1]
    turns = [[[{"latency": seconds}, {"latency": seconds}]] for seconds in rounds]
    metric = metrics_of([found(turns=turns)], around())["latency_p99"]
    # A resample without the third round has no request of 0.2 s.
    assert metric.low == pytest.approx(0.1)
    assert metric.high == pytest.approx(0.2)


def test_every_metric_has_a_kind_and_its_unit() -> None:
    measured = replace(found(), energy=Energy(1.0, 1.0))
    for name, metric in metrics_of([measured], around(idle_watts=0.1)).items():
        assert name in METRICS
        assert metric.unit == METRICS[name].unit
