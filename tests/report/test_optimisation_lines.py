from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import pytest

from rheostat.report.optimisation_lines import BANDS, band_of, lines_html
from rheostat.report.optimisation_study import StudyData
from rheostat.report.optimisation_style import BANDS_DARK, BANDS_LIGHT
from rheostat.report.palette import contrast
from tests.report.studied import study


@pytest.fixture(scope="module")
def data() -> StudyData:
    return study()


def lines_of(page: str) -> dict[int, tuple[set[str], list[tuple[float, float]]]]:
    found = re.findall(r'<polyline class="([^"]*)" data-n="(\d+)" points="([^"]*)"', page)
    return {
        int(number): (set(marks.split()), [(float(x), float(y)) for x, y in (p.split(",") for p in points.split())])
        for marks, number, points in found
    }


def test_every_configuration_is_a_line_down_all_axes(data: StudyData) -> None:
    lines = lines_of(lines_html(data))

    assert set(lines) == {point.trial.number for point in data.points}
    for point in data.points:
        marks, places = lines[point.trial.number]
        assert point.standing in marks
        assert len(places) == (10 if point.trial.ok else 6)
        assert [y for _, y in places] == sorted(y for _, y in places)
        assert all(0 <= x <= 1000 for x, _ in places)


def test_the_best_stands_at_the_right(data: StudyData) -> None:
    lines = lines_of(lines_html(data))
    fastest = min(data.measured, key=lambda point: point.value("latency_p95") or 9e99)
    best = max(data.measured, key=lambda point: point.value("accuracy") or 0)

    assert lines[fastest.trial.number][1][7][0] == 950
    assert lines[best.trial.number][1][6][0] == 950


def test_an_axis_that_means_nothing_has_a_place_of_its_own(data: StudyData) -> None:
    page = lines_html(data)
    plain = lines_of(page)[0][1][2][0]

    assert ">not set</span>" in page
    assert plain > 900


def test_the_recommended_one_lies_on_top(data: StudyData) -> None:
    assert list(lines_of(lines_html(data)))[-1] == 41


def test_quality_comes_in_fifths(data: StudyData) -> None:
    counts = Counter(band_of(data, point) for point in data.measured)

    assert set(counts) == set(range(BANDS))
    assert max(counts.values()) - min(counts.values()) <= 1
    best = max(data.measured, key=lambda point: point.value("accuracy") or 0)
    assert band_of(data, best) == BANDS - 1


def test_colours_stand_out_on_their_page_and_run_one_way() -> None:
    for colours, page in ((BANDS_LIGHT, "#ffffff"), (BANDS_DARK, "#14181d")):
        found = [contrast(colour, page) for colour in colours]
        assert len(colours) == BANDS
        assert min(found) >= 3
        assert found == sorted(found)


def test_one_configuration_is_no_picture(data: StudyData) -> None:
    result = replace(data.result, recommended=None, front=())

    assert lines_html(replace(data, trials=data.trials[:1], result=result)) == ""
