from __future__ import annotations

import math
import random
from typing import Any

import pytest

from rheostat.core.comparison import CONFIDENCE, Verdict, compare, is_known, judge
from rheostat.core.measurement import Measurement
from rheostat.core.metrics import Metric, unavailable
from rheostat.core.statistics import Estimate, paired_ratio


def measured(metrics: dict[str, Metric], ratios: list[float] | None = None) -> Measurement:
    return Measurement({}, {}, {}, {}, "ok", metrics, samples={"ratio": ratios or []})


def only(a: Metric, b: Metric, name: str, ratios: list[float] | None = None) -> Verdict:
    (verdict,) = compare(measured({name: a}), measured({name: b}, ratios))
    return verdict


def simulated(factor: float, noise: float, generator: random.Random) -> str:
    ratios = [factor * math.exp(generator.gauss(0, noise)) for _ in range(12)]
    return only(Metric(1.0, "s", 0.8, 1.2), Metric(factor, "s", 0.8, 1.2), "latency_p50", ratios).verdict


@pytest.mark.parametrize("noise", [0.005, 0.03, 0.1])
def test_identical_pairs_are_tied_95_times_in_100(noise: float) -> None:
    generator = random.Random(1)
    assert [simulated(1.0, noise, generator) for _ in range(100)].count("tied") >= 95


def test_five_per_cent_are_detected() -> None:
    generator = random.Random(2)
    assert [simulated(1.05, 0.03, generator) for _ in range(100)].count("worse") >= 95
    assert [simulated(0.95, 0.03, generator) for _ in range(100)].count("better") >= 95


def patient(factor: float, noise: float, generator: random.Random) -> str:
    """Return the verdict where rounds are added until the ratio is known, at most 60."""
    ratios: list[float] = []
    while not is_known(ratios) and len(ratios) < 60:
        ratios.append(factor * math.exp(generator.gauss(0, noise)))
    return judge(paired_ratio(ratios, CONFIDENCE), "lower")


def test_more_rounds_find_5_per_cent_in_more_noise_and_still_tie_what_is_equal() -> None:
    generator = random.Random(3)
    assert [patient(1.05, 0.06, generator) for _ in range(100)].count("worse") >= 95
    assert [patient(1.0, 0.06, generator) for _ in range(100)].count("tied") >= 95
    assert not is_known([1.0] * 7)
    assert is_known([1.0] * 8)


def test_too_few_rounds_fall_back_to_the_values_own_intervals() -> None:
    verdict = only(Metric(1.0, "s", 0.9, 1.1), Metric(1.05, "s", 0.95, 1.15), "latency_p50", [1.05] * 7)
    assert not verdict.paired
    assert verdict.verdict == "tied"


@pytest.mark.parametrize(
    ("name", "a", "b", "verdict"),
    [
        ("accuracy", (0.9, 0.89, 0.91), (0.95, 0.94, 0.96), "better"),
        ("accuracy", (0.9, 0.89, 0.91), (0.85, 0.84, 0.86), "worse"),
        ("accuracy", (0.9, 0.88, 0.92), (0.91, 0.89, 0.93), "tied"),
        ("memory_peak_host", (100, None, None), (50, None, None), "better"),
        ("memory_peak_host", (100, None, None), (100.5, None, None), "tied"),
        ("perplexity", (10, 9, 11), (20, 18, 22), "worse"),
        ("accuracy", (0.5, 0.0, 1.0), (1.0, 0.5, 1.0), "tied"),
        ("accuracy", (0.1, 0.0, 0.2), (1.0, 0.5, 1.0), "better"),
    ],
)
def test_values_are_judged_by_their_intervals(name: str, a: Any, b: Any, verdict: str) -> None:
    assert only(*(Metric(value, "1", low, high) for value, low, high in (a, b)), name).verdict == verdict


def test_what_cannot_be_had_is_unknown() -> None:
    verdict = only(unavailable("power_mean", "no counter"), Metric(3.0, "W"), "power_mean")
    assert verdict.verdict == "unknown"
    assert verdict.ratio is None


def test_context_is_not_judged() -> None:
    metric = {"processor_utilisation": Metric(0.5, "1"), "speedup": Metric(2.0, "1")}
    assert compare(measured(metric), measured(metric)) == []


def test_small_differences_are_tied_however_sure() -> None:
    assert judge(Estimate(1.005, 1.004, 1.006), "lower") == "tied"
    assert judge(Estimate(1.02, 1.01, 1.03), "lower") == "worse"
    assert judge(Estimate(1.02, 1.01, 1.03), "higher") == "better"


def test_tasks_of_the_harness_are_compared_in_their_direction() -> None:
    a, b = Metric(10.0, "1", 9.0, 11.0), Metric(20.0, "1", 18.0, 22.0)
    assert only(a, b, "lambada/perplexity").verdict == "worse"
    assert only(a, b, "arc/acc,none").verdict == "better"
