from __future__ import annotations

import pytest

from rheostat.core.goals import Limit
from rheostat.core.measurement import Measurement
from rheostat.core.metrics import Metric, unavailable
from rheostat.core.trial import Trial
from rheostat.search.evidence import CONFIRMATION, Evidence, gathered, improvements, optimistic, pooled
from tests.search.synthetic import SPACE


def trial(
    number: int, accuracy: float | None, fidelity: float = 1.0, strategy: str = "random", width: float = 0.02
) -> Trial:
    ok = accuracy is not None
    metrics = {"accuracy": Metric(accuracy, "1", accuracy - width, accuracy + width)} if accuracy is not None else {}
    measurement = Measurement({}, SPACE.default, {}, {}, "ok" if ok else "failed", metrics)
    return Trial(number, SPACE.default, measurement, fidelity, 1.0, strategy)


def evidence(*trials: Trial) -> Evidence:
    return Evidence(SPACE.default, trials)


def test_only_the_highest_fidelity_counts() -> None:
    one = evidence(trial(0, 0.5, 0.25), trial(1, 0.8), trial(2, 0.9))

    assert one.full
    assert one.metrics["accuracy"].value == pytest.approx(0.85)
    assert (one.at(0.25) or {})["accuracy"].value == 0.5
    assert one.number == 2


def test_a_confirmation_stands_alone() -> None:
    one = evidence(trial(0, 0.9), trial(1, 0.7, strategy=CONFIRMATION), trial(2, 0.8, strategy=CONFIRMATION))

    assert one.verdict_metrics["accuracy"].value == pytest.approx(0.75)
    assert one.metrics["accuracy"].value == pytest.approx(0.8)


def test_a_confirmation_that_failed_leaves_nothing() -> None:
    assert evidence(trial(0, 0.9), trial(1, None, strategy=CONFIRMATION)).verdict_metrics == {}


def test_failures() -> None:
    assert evidence(trial(0, None)).failed
    assert evidence(trial(0, None)).fidelity == 0.0
    assert evidence(trial(0, 0.5, 0.25), trial(1, None)).failed
    assert not evidence(trial(0, None), trial(1, 0.5)).failed


def test_repeats_narrow_what_noise_made_wide_but_not_quality() -> None:
    times = [{"latency_p50": Metric(value, "s", value - 0.1, value + 0.1)} for value in (1.0, 1.0, 1.0, 1.0)]
    quality = [{"accuracy": Metric(0.9, "1", 0.8, 1.0)}] * 4

    assert pooled(times)["latency_p50"].high == pytest.approx(1.05)
    assert pooled(quality)["accuracy"].high == pytest.approx(1.0)


def test_repeats_that_differ_by_more_than_they_say_stay_wide() -> None:
    times = [{"latency_p50": Metric(value, "s", value - 0.01, value + 0.01)} for value in (1.0, 2.0)]
    found = pooled(times)["latency_p50"]

    assert found.low is not None
    assert found.low < 0.6


def test_what_one_repeat_lacks_the_others_say() -> None:
    times = [{"energy_per_sample": unavailable("energy_per_sample", "none")}, {"energy_per_sample": Metric(2.0, "J")}]

    assert pooled(times)["energy_per_sample"].value == 2.0
    assert pooled([]) == {}


def test_gains_are_what_was_seen_between_fidelities() -> None:
    seen = [evidence(trial(0, 0.5, 0.25), trial(1, 0.5 + gain)) for gain in (0.01, 0.05, -0.02)]

    assert improvements(seen, 0.25) == {"accuracy": pytest.approx(0.05)}
    assert improvements([evidence(trial(0, 0.5, 0.25))], 0.25) is None
    assert improvements([evidence(trial(0, 0.5, 0.25), trial(1, 0.4))], 0.25) == {"accuracy": 0.0}


def test_hope_goes_to_the_better_end() -> None:
    metrics = {"accuracy": Metric(0.8, "1", 0.7, 0.9), "latency_p50": Metric(1.0, "s", 0.9, 1.2)}
    found = optimistic(metrics, {"latency_p50": 0.1})

    assert found["accuracy"].value == 0.9
    assert found["latency_p50"].value == pytest.approx(0.8)


def test_a_limit_within_the_interval_is_in_doubt() -> None:
    one = evidence(trial(0, 0.9))
    limits = [Limit("accuracy", "least", value) for value in (0.85, 0.89, 0.95)]

    assert one.straddled(limits, {}) == (limits[1],)


def test_trials_are_gathered_by_configuration() -> None:
    found = gathered([trial(1, 0.9), trial(0, 0.5, 0.25)], SPACE)

    assert [each.number for each in found[SPACE.key({})].trials] == [0, 1]
