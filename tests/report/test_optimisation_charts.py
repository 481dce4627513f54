from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rheostat.report.optimisation_charts import front_chart, front_data, progress_chart, progress_of, start_pair
from rheostat.report.optimisation_study import STANDINGS, StudyData
from rheostat.report.palette import contrast
from tests.report.studied import NASTY, impossible, study


@pytest.fixture(scope="module")
def data() -> StudyData:
    return study()


def test_standings_are_told_apart_by_symbol_and_stand_out_on_both_pages(data: StudyData) -> None:
    series = [one for one in front_chart(data).data if one.mode == "markers"]

    assert {one.meta for one in series} == {*STANDINGS, "missing"} - {"failed"}
    assert len({one.marker.symbol for one in series}) == len(series)
    assert all(contrast(one.marker.color, page) >= 3 for one in series for page in ("#ffffff", "#14181d"))


def test_the_data_of_the_chart_are_those_of_the_points(data: StudyData) -> None:
    found = json.loads(front_data(data))
    point = data.points[1]
    metric = point.metrics["latency_p95"]

    assert found["start"] == ["latency_p95", "accuracy"] == list(start_pair(data))
    assert list(found["metrics"])[:4] == data.objectives
    assert found["points"][1]["name"] == point.name
    assert found["metrics"]["latency_p95"]["at"][1] == pytest.approx(
        [1e3 * (number or 0) for number in (metric.value, metric.low, metric.high)], abs=1e-5
    )
    assert found["metrics"]["energy_per_sample"]["title"] == "energy a sample (estimated)"
    assert found["simple"][1] == {"name": "linear model on TF-IDF", "values": {"accuracy": 86.8}}
    failed = next(place for place, one in enumerate(data.points) if not one.trial.ok)
    assert found["metrics"]["accuracy"]["at"][failed] is None
    assert NASTY in found["points"][failed]["words"]


def test_what_breaks_a_limit_says_which(data: StudyData) -> None:
    found = json.loads(front_data(data))
    words = {one["n"]: one["words"] for one in found["points"]}

    assert words[15].startswith("infeasible, breaks the limit of accuracy, proposed by surrogate")
    assert words[41] == "recommended, proposed by surrogate"


def test_text_cannot_end_the_script_it_stands_in(data: StudyData) -> None:
    assert "<" not in front_data(data)


def test_progress_never_falls_and_ends_at_all_of_it(data: StudyData) -> None:
    progress = progress_of(data)

    assert progress.title == "final hypervolume reached (%)"
    assert len(progress.shares) == len(data.trials)
    assert list(progress.shares) == sorted(progress.shares)
    assert progress.shares[0] == 0
    assert progress.shares[-1] == pytest.approx(100)


def test_progress_rises_only_where_a_trial_in_full_keeps_the_limits(data: StudyData) -> None:
    shares = progress_of(data).shares
    feasible = {point.trial.number for point in data.points if point.feasible}

    rises = {
        trial.number for trial, one, other in zip(data.trials[1:], shares, shares[1:], strict=False) if other > one
    }
    assert rises
    assert rises <= feasible


def test_where_nothing_keeps_the_limits_progress_is_the_nearest() -> None:
    data = study(impossible())
    progress = progress_of(data)

    assert progress.title == "the nearest breaks the limits by (%)"
    assert list(progress.shares) == sorted(progress.shares, reverse=True)
    assert progress.shares[-1] == pytest.approx(100 * min(point.excess for point in data.measured))


def test_progress_tells_strategies_parts_and_failures_apart(data: StudyData) -> None:
    figure, over = progress_chart(data)
    names = [one.name for one in figure.data[1:]]

    assert names == [
        "baseline", "warm start", "random", "random, in part", "surrogate", "surrogate, in part", "failed"
    ]  # fmt: skip
    assert len({one.marker.symbol for one in figure.data[1:]}) == len(names)
    assert sum(len(one.x) for one in figure.data[1:]) == len(data.trials)
    places = json.loads(over)["over"]
    assert [len(one) for one in places["minutes"]] == [len(one) for one in places["trials"]]
    assert max(places["minutes"][0]) == pytest.approx(sum(trial.seconds for trial in data.trials) / 60)


def test_two_objectives_that_cost_are_shown_where_there_is_no_quality(data: StudyData) -> None:
    costs = replace(data.goals, objectives=data.goals.objectives[1:3])

    assert start_pair(replace(data, goals=costs)) == ("latency_p95", "memory_peak_host")
