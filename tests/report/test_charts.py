from __future__ import annotations

from dataclasses import replace

import pytest

from rheostat.core.profile import Point, Profile
from rheostat.report.charts import macs_chart, quality_chart, survivors_chart


def test_quality_is_drawn_in_per_cent_with_both_intervals(profile: Profile) -> None:
    figure = quality_chart(profile, "accuracy", {})
    curve = figure.data[0]

    assert list(curve.x) == [1.0, 1.9, 2.7, 4.4]
    assert list(curve.y) == pytest.approx([90.0, 89.5, 88.0, 80.0])
    assert list(curve.error_y.array) == pytest.approx([1.0] * 4)
    assert list(curve.error_x.arrayminus) == pytest.approx([0.05, 0.095, 0.135, 0.22])
    assert figure.layout.yaxis.title.text == "accuracy (%)"


def test_simple_models_are_level_lines_named_with_their_value(profile: Profile) -> None:
    lines = {trace.name: set(trace.y) for trace in quality_chart(profile, "accuracy", {}).data[1:]}

    assert lines == {"always the commonest class: 50.00 %": {50.0}, "linear model on TF-IDF: 85.00 %": {85.0}}


def test_other_curves_differ_in_more_than_colour(profile: Profile) -> None:
    figure = quality_chart(profile, "accuracy", {"tuned ordinarily": profile.points, "random": profile.points})
    curves = figure.data[:3]

    assert [curve.name for curve in curves] == ["this bundle", "tuned ordinarily", "random"]
    assert len({(curve.line.dash, curve.marker.symbol) for curve in curves}) == 3


@pytest.mark.parametrize(("dial", "neutral", "turned"), [("depth", 6.0, 3.0), ("cascade", 0.0, 0.8)])
def test_each_setting_of_another_dial_has_a_curve_of_its_own(
    profile: Profile, dial: str, neutral: float, turned: float
) -> None:
    def at(value: float) -> list[Point]:
        return [replace(point, settings={**point.settings, dial: value}) for point in profile.points]

    both = replace(profile, points=(*at(neutral), *at(turned)), neutral={"tokens": 1.0, dial: neutral})
    curves = quality_chart(both, "accuracy", {}).data[:2]

    assert [curve.name for curve in curves] == ["this bundle", f"{dial} {turned:g}"]
    assert [len(curve.x) for curve in curves] == [4, 4]


def test_counted_and_measured_meet_on_the_diagonal(profile: Profile) -> None:
    diagonal, measured = macs_chart(profile).data

    assert list(diagonal.x) == list(diagonal.y)
    assert list(measured.x) == [1.0, 2.2, 3.0, 5.0]
    assert list(measured.y) == [1.0, 1.9, 2.7, 4.4]


def test_the_survivors_chart_has_a_row_a_block_from_the_top() -> None:
    figure = survivors_chart(["a", "b", "c"], [[0, 2], [2]])

    assert [list(row) for row in figure.data[0].z] == [[1, 0, 1], [0, 0, 1]]
    assert figure.layout.yaxis.autorange == "reversed"
    assert [note.text for note in figure.layout.annotations] == ["67 %", "33 %"]
