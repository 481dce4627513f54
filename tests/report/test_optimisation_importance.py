from __future__ import annotations

import math
from dataclasses import replace

import pytest

from rheostat.core.importance import importance
from rheostat.report.optimisation_importance import effects_of, importance_html
from rheostat.report.optimisation_study import StudyData
from tests.report.studied import study


@pytest.fixture(scope="module")
def data() -> StudyData:
    return study()


def test_what_the_formulas_depend_on_matters_and_nothing_else_is_sure(data: StudyData) -> None:
    effects = effects_of(data)
    sure = {
        metric: {name for name, one in axes.items() if one is not None and one.sure} for metric, axes in effects.items()
    }

    assert list(effects) == data.objectives
    assert sure["memory_peak_host"] == {"precision"}
    assert {"tokens", "precision"} <= sure["energy_per_sample"]
    assert sure["energy_per_sample"].isdisjoint({"recipe", "scorer"})
    assert "tokens" in sure["accuracy"]
    assert "batch" in sure["latency_p95"]


def test_costs_go_in_as_logarithms_and_quality_as_it_is(data: StudyData) -> None:
    configurations = [point.trial.configuration for point in data.measured]
    costs = [math.log(point.value("latency_p95") or 0) for point in data.measured]
    quality = [point.value("accuracy") or 0 for point in data.measured]
    names = [axis.name for axis in data.space.axes]

    assert effects_of(data)["latency_p95"] == importance(configurations, costs, names)
    assert effects_of(data)["accuracy"] == importance(configurations, quality, names)


def test_the_table_has_a_row_a_choice_the_strongest_first(data: StudyData) -> None:
    page = importance_html(data)

    assert page.index("precision<small>") < page.index("scorer<small>")
    assert page.count('<td class="effect') == 6 * 4
    assert 'class="effect unsure"' in page
    assert "energy a sample (estimated)" in page
    assert "36 trials" in page


def test_every_value_has_the_median_of_its_trials(data: StudyData) -> None:
    page = importance_html(data)

    assert page.count('<th scope="row">precision</th>') == 3
    assert '<th scope="row">tokens</th><td>1</td><td>6</td>' in page


def test_without_changes_there_is_nothing_to_tell(data: StudyData) -> None:
    result = replace(data.result, recommended=None, front=())

    assert importance_html(replace(data, trials=data.trials[:1], result=result)) == ""
