from __future__ import annotations

import pytest

from rheostat.core.goals import Objective
from rheostat.core.metrics import Metric, unavailable
from rheostat.core.score import efficiency_score, gain, preference, quality_lost

UNITS = {"latency_p50": "s", "latency_p95": "s", "memory_peak_host": "B", "energy_per_sample": "J"}


def metrics(**values: float) -> dict[str, Metric]:
    return {name: Metric(value, UNITS.get(name, "1")) for name, value in values.items()}


PLAIN = metrics(latency_p50=0.4, memory_peak_host=8e8, energy_per_sample=4.0, accuracy=0.9)


def test_the_score_is_the_geometric_mean_of_three_gains() -> None:
    found = efficiency_score(
        metrics(latency_p50=0.1, memory_peak_host=4e8, energy_per_sample=4.0, accuracy=0.89), PLAIN
    )

    assert found.gains == {"latency": 4.0, "memory": 2.0, "energy": 1.0}
    assert found.value == pytest.approx(2.0)
    assert found.lost == pytest.approx(1.0)
    assert found.allowed
    assert found.energy == "counter"


def test_the_default_configuration_scores_one() -> None:
    assert efficiency_score(PLAIN, PLAIN).value == pytest.approx(1.0)


def test_the_published_example() -> None:
    """LLaMA-2-7B of the paper: 45.2 to 25.8 ms, 13.5 to 8.1 GB, 0.85 to 0.42 J."""
    before = metrics(latency_p50=0.0452, memory_peak_host=13.5e9, energy_per_sample=0.85, accuracy=0.685)
    after = metrics(latency_p50=0.0258, memory_peak_host=8.1e9, energy_per_sample=0.42, accuracy=0.682)

    assert efficiency_score(after, before).value == pytest.approx(1.81, abs=0.01)


def test_smaller_requests_are_no_gain() -> None:
    here = {**PLAIN, "latency_p50": Metric(0.05, "s")}

    assert efficiency_score(here, PLAIN, (1, 8)).gains["latency"] == pytest.approx(1.0)
    assert gain("latency_p50", here, PLAIN, (1, 8)) == pytest.approx(1.0)


def test_what_was_not_measured_leaves_no_score() -> None:
    without = {**PLAIN, "energy_per_sample": unavailable("energy_per_sample", "no counter")}
    found = efficiency_score(without, PLAIN)

    assert found.value is None
    assert found.gains["energy"] is None
    assert found.energy == "unavailable"


def test_estimated_energy_is_said() -> None:
    estimated = {**PLAIN, "energy_per_sample": Metric(4.0, "J", provenance="estimated")}

    assert efficiency_score(PLAIN, estimated).energy == "estimated"


def test_quality_lost() -> None:
    assert quality_lost(metrics(perplexity=22.0), metrics(perplexity=20.0)) == pytest.approx(9.53, abs=0.01)
    assert quality_lost(metrics(accuracy=0.95), metrics(accuracy=0.9)) == pytest.approx(-5.0)
    assert quality_lost({}, PLAIN) is None


def test_a_preference_counts_costs_and_leaves_quality_to_limits() -> None:
    objectives = [Objective("accuracy"), Objective("latency_p50"), Objective("memory_peak_host")]
    worse = metrics(latency_p50=0.1, memory_peak_host=8e8, accuracy=0.1)

    assert preference(objectives, worse, PLAIN) == pytest.approx(2.0)
    assert preference(objectives[:1], worse, PLAIN) == pytest.approx(1 / 9)
    assert preference(objectives, PLAIN, PLAIN) == pytest.approx(1.0)


def test_weights_say_what_counts() -> None:
    objectives = [Objective("latency_p50"), Objective("memory_peak_host")]
    here = metrics(latency_p50=0.1, memory_peak_host=16e8)

    assert preference(objectives, here, PLAIN, weights={"latency_p50": 1.0}) == pytest.approx(4.0)
    assert preference(objectives, here, PLAIN, weights={"latency_p50": 1.0, "memory_peak_host": 2.0}) == pytest.approx(
        1.0
    )


def test_a_preference_needs_what_it_counts() -> None:
    assert preference([Objective("latency_p50")], {}, PLAIN) is None


def test_a_slow_spell_while_the_baseline_was_measured_is_no_gain() -> None:
    before = metrics(latency_p50=1.6, latency_p95=2.0, memory_peak_host=8e8, energy_per_sample=4.0, accuracy=0.9)
    after = metrics(latency_p50=0.2, latency_p95=0.3, memory_peak_host=8e8, energy_per_sample=4.0, accuracy=0.9)
    alone = efficiency_score(after, before).gains["latency"]
    before["speedup"], after["speedup"] = Metric(1.0, "1"), Metric(2.0, "1")

    assert alone == pytest.approx(8.0)
    assert efficiency_score(after, before).gains["latency"] == pytest.approx(2.0)
    assert gain("latency_p95", after, before) == pytest.approx(2.0 / 8.0 * 2.0 / 0.3)
    assert gain("memory_peak_host", after, before) == pytest.approx(1.0)
    assert gain("latency_p50", after, before, (1, 8)) == pytest.approx(2.0), "what is paired is by row already"


def test_a_speed_up_below_nothing_is_no_measurement() -> None:
    plain = {"latency_p50": Metric(2.0, "s"), "speedup": Metric(1.0, "1")}
    found = {"latency_p50": Metric(1.0, "s"), "speedup": Metric(-3.0, "1")}
    assert gain("latency_p50", found, plain) == 2.0


def test_noise_of_the_baselines_own_pair_is_no_gain() -> None:
    before, after = metrics(latency_p50=0.4), metrics(latency_p50=0.1)
    after["speedup"] = Metric(3.6, "1", 3.2, 3.9)
    # Against itself the baseline is as fast as itself, whatever four noisy rounds say.
    before["speedup"] = Metric(0.77, "1", 0.41, 1.16)
    assert gain("latency_p50", after, before) == pytest.approx(3.6)
    assert gain("latency_p50", before, before) == 1.0
