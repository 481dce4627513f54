from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from rheostat.core.errors import MeasurementError
from rheostat.core.metrics import Metric
from rheostat.core.pareto import dominates
from rheostat.report.optimisation_study import StudyData, as_metric
from tests.report.studied import GOALS, impossible, study


@pytest.fixture(scope="module")
def data() -> StudyData:
    return study()


def test_every_configuration_has_one_standing(data: StudyData) -> None:
    counts = Counter(point.standing for point in data.points)

    assert set(counts) == {"recommended", "baseline", "front", "dominated", "infeasible", "failed"}
    assert counts["recommended"] == counts["baseline"] == 1
    assert len({repr(point.trial.configuration) for point in data.points}) == len(data.points)
    assert len(data.partial) == 10
    assert all(point.trial.fidelity == 1 for point in data.points)


def test_standings_agree_with_the_limits_and_with_each_other(data: StudyData) -> None:
    values = {point.name: GOALS.values(point.metrics) or () for point in data.points if point.feasible}

    for point in data.points:
        if point.standing in ("front", "recommended", "dominated"):
            beaten = any(dominates(other, values[point.name]) for other in values.values())
            assert beaten == (point.standing == "dominated")
        if point.standing == "infeasible":
            assert 0 < point.excess < float("inf")
        if point.standing == "failed":
            assert not point.trial.ok


def test_a_repeat_that_worked_counts_more_than_a_failure(data: StudyData) -> None:
    failed = next(trial for trial in data.trials if not trial.ok)
    good = replace(data.trials[1].measurement)
    again = replace(failed, number=99, measurement=good)
    more = replace(data, trials=[*data.trials, again])
    before = replace(data, trials=[again, *data.trials])

    for each in (more, before):
        point = each.find(failed.configuration)
        assert point is not None
        assert point.trial.number == 99


def test_the_numbers_of_a_finding_count_more_than_those_of_its_trial(data: StudyData) -> None:
    assert data.result.recommended is not None
    pooled = {**data.result.recommended.metrics, "latency_p95": Metric(0.001, "s", 0.0009, 0.0011)}
    found = replace(data, result=replace(data.result, recommended=replace(data.result.recommended, metrics=pooled)))

    assert found.recommended is not None
    assert found.recommended.value("latency_p95") == 0.001


def test_gains_have_the_widest_interval_and_are_by_row(data: StudyData) -> None:
    point = data.recommended
    assert point is not None
    assert point.trial.configuration["batch"] == 8
    here, there = point.metrics["latency_p95"], data.baseline_metrics["latency_p95"]
    found = data.gain(point, "latency_p95")

    assert found is not None
    assert found.value == pytest.approx(8 * (there.value or 0) / (here.value or 1))
    assert found.low == pytest.approx(8 * (there.low or 0) / (here.high or 1))
    assert found.high == pytest.approx(8 * (there.high or 0) / (here.low or 1))
    assert data.each(point, "latency_p95") == ", a row"
    assert data.each(point, "memory_peak_host") == ""
    assert data.score(data.baseline) == pytest.approx(1) if data.baseline else False


def test_a_gain_over_what_may_be_zero_is_unbounded(data: StudyData) -> None:
    point = data.measured[1]
    wide = replace(point, metrics={**point.metrics, "latency_p95": Metric(0.01, "s", 0.0, 0.02)})
    found = data.gain(wide, "latency_p95")

    assert found is not None
    assert (found.low, found.high) == (0.0, float("inf"))


def test_without_a_gain_there_is_none(data: StudyData) -> None:
    assert data.gain(replace(data.measured[1], metrics={}), "latency_p95") is None


def test_what_was_estimated_says_so_wherever_it_is_named(data: StudyData) -> None:
    assert data.title_of("energy_per_sample") == "energy a sample (estimated)"
    assert data.title_of("latency_p95") == "latency, p95"
    assert data.energy_source == " (CodeCarbon)"


def test_objectives_are_told_apart(data: StudyData) -> None:
    assert data.quality == "accuracy"
    assert data.costs == ["latency_p95", "memory_peak_host", "energy_per_sample"]
    assert data.metrics[:4] == data.objectives
    assert [name for name in data.metrics if data.logarithmic(name)] == data.metrics[1:]


def test_a_result_names_trials_of_its_study(data: StudyData) -> None:
    with pytest.raises(MeasurementError, match="one of the study's trials"):
        replace(data, trials=data.trials[:3])


def test_where_nothing_keeps_the_limits_nothing_is_recommended() -> None:
    data = study(impossible())

    assert data.recommended is None
    assert {point.standing for point in data.measured} == {"baseline", "infeasible"}


def test_values_of_simple_models_are_numbers_or_metrics() -> None:
    assert as_metric("accuracy", 0.5) == Metric(0.5, "1")
    assert as_metric("accuracy", Metric(0.5, "1", 0.4, 0.6).to_json()) == Metric(0.5, "1", 0.4, 0.6)
    assert as_metric("meets", True) is None
    assert as_metric("note", "nothing") is None
