from __future__ import annotations

from dataclasses import replace

import pytest

from rheostat.report.optimisation_levels import (
    COST_LEVELS,
    cost_at_quality,
    levels_html,
    quality_at_cost,
    quality_levels,
)
from rheostat.report.optimisation_study import StudyData
from tests.report.studied import study


@pytest.fixture(scope="module")
def data() -> StudyData:
    return study()


def test_no_measured_configuration_does_better_at_any_level_of_cost(data: StudyData) -> None:
    levels = quality_at_cost(data)

    assert [level.name for level in levels][:3] == ["the same", "75 %", "50 %"]
    for level, share in zip(levels, COST_LEVELS, strict=False):
        for cost, point in level.best.items():
            bound = level.bounds[cost]
            assert bound == pytest.approx(share * (data.baseline_metrics[cost].value or 0))
            there = [one for one in data.measured if (one.value(cost) or 9e99) <= bound]
            assert (point is None) == (not there)
            if point is not None:
                assert point.value("accuracy") == max(one.value("accuracy") or 0 for one in there)


def test_no_measured_configuration_costs_less_at_any_level_of_quality(data: StudyData) -> None:
    levels = cost_at_quality(data)

    assert [level.name for level in levels][:3] == ["no lower", "at most 0.5 points worse", "at most 1 point worse"]
    for level, (_, bound) in zip(levels, quality_levels(data), strict=False):
        there = [one for one in data.measured if (one.value("accuracy") or 0) >= bound]
        for cost, point in level.best.items():
            assert point is not None
            assert point.value(cost) == min(one.value(cost) or 9e99 for one in there)


def test_less_quality_never_costs_more(data: StudyData) -> None:
    for cost in data.costs:
        values = [point.value(cost) for level in cost_at_quality(data) if (point := level.best[cost]) is not None]
        assert values == sorted(values, key=lambda value: -(value or 0))


def test_cells_name_the_configuration_and_its_interval(data: StudyData) -> None:
    page = levels_html(data)

    assert '<a href="#trial-52">#52<span class="wide"> recipe distilled' in page
    assert "none measured" in page
    assert "energy a sample (estimated)" in page
    assert "times lower" in page


def test_without_a_baseline_there_is_nothing_to_compare_with(data: StudyData) -> None:
    assert levels_html(replace(data, result=replace(data.result, baseline=None))) == ""
