from __future__ import annotations

from dataclasses import replace

import pytest

from rheostat.core.goals import Limit
from rheostat.core.metrics import unavailable
from rheostat.core.statistics import Estimate
from rheostat.report.optimisation_sentences import (
    binding_sentence,
    gain_text,
    limit_rows,
    limit_words,
    nearest_point,
    opening,
    recommendation,
    simple_sentences,
    summary,
)
from rheostat.report.optimisation_study import StudyData
from tests.report.studied import impossible, study


@pytest.fixture(scope="module")
def data() -> StudyData:
    return study()


def test_the_recommendation_is_one_sentence_with_its_gains(data: StudyData) -> None:
    said = recommendation(data)

    assert said.startswith("Use recipe distilled, tokens 0.6, scorer attention, depth 0.75, int8, batch 8: accuracy ")
    assert "points lower; latency, p95, a row " in said
    assert "energy a sample (estimated) " in said
    assert said.endswith("All 3 limits are kept.")


def test_an_unconfirmed_recommendation_says_so(data: StudyData) -> None:
    said = recommendation(replace(data, result=replace(data.result, status="unconfirmed")))

    assert said.endswith("This was not measured a second time.")


def test_the_default_may_be_best(data: StudyData) -> None:
    said = recommendation(replace(data, result=replace(data.result, recommended=data.result.baseline)))

    assert said.startswith("Use the default, recipe plain, tokens 1")


def test_a_simple_model_that_will_do_comes_before_everything() -> None:
    first, second = opening(study(simple=True))

    assert first == (
        "A simple model will do: linear model on TF-IDF (accuracy 89.70\N{NO-BREAK SPACE}%) keeps every limit on "
        "quality. Think of that first."
    )
    assert second.startswith("Use ")


def test_a_simple_model_that_will_not_do_is_not_named(data: StudyData) -> None:
    assert simple_sentences(data) == []


def test_a_simple_model_as_good_as_the_recommended_one_is_named(data: StudyData) -> None:
    better = replace(data, result=replace(data.result, cheap_baselines={"linear": {"accuracy": 0.95, "meets": False}}))

    assert [meets for _, meets in simple_sentences(better)] == [False]


def test_where_nothing_keeps_the_limits_that_comes_first_with_the_nearest() -> None:
    data = study(impossible())
    said = opening(data)[0]
    near = nearest_point(data)

    assert near is not None
    assert said.startswith("No configuration keeps all limits (42 measured in full). The nearest is ")
    assert "energy a sample (estimated) at most 50.0\N{NO-BREAK SPACE}mJ (the nearest has 81.6" in said
    assert near.excess == min(point.excess for point in data.measured)
    assert binding_sentence(data).startswith("What stands in the way most is energy a sample (estimated) at most ")
    rows = limit_rows(data, near)
    assert [row.kept for row in rows] == [False, True, True, False]
    assert rows[0].room.endswith("points too little")
    assert rows[3].room.endswith("too much")
    assert rows[3].relaxing.startswith("without it #")
    assert rows[1].relaxing == "without it, others still stand in the way"


def test_a_limit_on_what_this_machine_cannot_measure_says_why() -> None:
    data = study(impossible())
    lost = unavailable("energy_per_sample", "no energy counter")
    trials = [
        replace(one, measurement=replace(one.measurement, metrics={**one.measurement.metrics, lost_name: lost}))
        for one in data.trials
        for lost_name in ["energy_per_sample"]
    ]
    baseline = replace(data.result.baseline, metrics=trials[0].measurement.metrics) if data.result.baseline else None
    data = replace(data, trials=trials, result=replace(data.result, baseline=baseline, binding=None))
    near = nearest_point(data)

    assert near is not None
    assert "which was not measured (no energy counter)" in recommendation(data)
    assert limit_rows(data, near)[3].found == "not measured (no energy counter)"
    assert limit_rows(data, near)[3].relaxing.startswith("without it #")


def test_a_search_that_goes_on_says_so() -> None:
    data = study(impossible())

    assert recommendation(replace(data, result=replace(data.result, ended=""))).startswith("So far no configuration")


def test_each_limit_is_told_with_what_relaxing_it_buys(data: StudyData) -> None:
    point = data.recommended
    assert point is not None
    own = data.score(point)
    assert own is not None
    accuracy, latency, memory = limit_rows(data, point)

    assert accuracy.name == "accuracy at most 1 point below the baseline"
    assert accuracy.room == "0.09 points left"
    # Whoever breaks this limit alone and scores highest, found here in another way.
    alone = [one for one in data.measured if [each.kept for each in data.verdicts(one.metrics)] == [False, True, True]]
    best = max(alone, key=lambda one: data.score(one) or 0)
    assert f"; at 86.93\N{NO-BREAK SPACE}%: {best.name}, overall gain {data.score(best):.2f}x" in accuracy.relaxing
    better = [one for one in alone if (data.score(one) or 0) > 1.01 * own]
    near = max(better, key=lambda one: one.value("accuracy") or 0)
    assert f": {near.name}, overall gain {data.score(near):.2f}x; at " in accuracy.relaxing
    assert accuracy.relaxing.endswith(f", instead of {own:.2f}x")
    assert latency.relaxing == memory.relaxing == "nothing that was measured"
    assert all(row.kept for row in (accuracy, latency, memory))


def test_what_relaxing_a_limit_makes_worse_is_said_too(data: StudyData) -> None:
    # One row a request: less memory, but a row takes more energy.
    near = next(one for one in data.result.front if one.number == 27)
    assert data.result.binding is not None
    said = binding_sentence(
        replace(data, result=replace(data.result, binding=replace(data.result.binding, nearest=near)))
    )

    assert "it would bring peak memory 1." in said
    assert ", but latency, p95, a row 1." in said
    assert "energy a sample (estimated) 1." in said
    assert said.endswith("times higher.")


def test_the_limit_that_binds_and_what_relaxing_it_brings(data: StudyData) -> None:
    said = binding_sentence(data)

    assert said.startswith("The limit that binds is accuracy at most 1 point below the baseline: relaxed for #36 ")
    assert "latency, p95, a row 1.24 times lower" in said
    assert "No limit stands in the way" in binding_sentence(replace(data, result=replace(data.result, binding=None)))


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (Limit("accuracy", "least", 0.005, "difference"), "accuracy at most 0.5 points below the baseline"),
        (Limit("accuracy", "least", 0.9), "accuracy at least 90.00\N{NO-BREAK SPACE}%"),
        (Limit("latency_p95", "most", 0.015), "latency, p95 at most 15.0\N{NO-BREAK SPACE}ms"),
        (Limit("latency_p95", "most", 0.5, "ratio"), "latency, p95 at most 0.5 times the baseline's"),
        (
            Limit("latency_p95", "most", 0.002, "difference"),
            "latency, p95 at most 2.00\N{NO-BREAK SPACE}ms above the baseline",
        ),
    ],
)
def test_limits_in_words(data: StudyData, limit: Limit, words: str) -> None:
    assert limit_words(data, limit) == words


@pytest.mark.parametrize(
    ("metric", "found", "words"),
    [
        ("latency_p95", Estimate(1.02, 0.99, 1.05), "about the same"),
        ("latency_p95", Estimate(3.0, 2.5, 3.5), "3.00 times lower (2.50 to 3.50)"),
        ("throughput_samples", Estimate(3.0, 2.5, 3.5), "3.00 times higher (2.50 to 3.50)"),
        ("throughput_samples", Estimate(0.5, 0.4, 0.8), "2.00 times lower (1.25 to 2.50)"),
    ],
)
def test_gains_in_words(metric: str, found: Estimate, words: str) -> None:
    assert gain_text(metric, found) == words


def test_the_terminal_hears_the_same(data: StudyData) -> None:
    said = summary(data)

    assert said[0] == recommendation(data)
    assert said[1].startswith("accuracy at most 1 point below the baseline: 89.62")
    assert "Not measured but estimated: energy a sample (estimated)." in said
    assert said[-1] == "The machine was busy during 2 of 62 trials."
