from __future__ import annotations

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.metrics import Metric, unavailable
from rheostat.report.whiskers import Whiskers


def place_of_dot(drawing: str) -> float:
    return float(re.findall(r'<circle cx="([0-9.]+)"', drawing)[0])


def test_twice_and_half_lie_equally_far_from_one() -> None:
    axis = Whiskers(0.25, 4.0)
    half, one, twice = (place_of_dot(axis.drawn(Metric(value, "1"), "")) for value in (0.5, 1.0, 2.0))

    assert twice - one == one - half > 0


def test_the_bar_spans_the_interval_and_holds_the_dot() -> None:
    metric = Metric(2.0, "1", 1.5, 3.0)
    drawing = Whiskers.over([metric]).drawn(metric, "slow")
    lines = re.findall(r'<line x1="([0-9.]+)" x2="([0-9.]+)"', drawing)

    left, right = map(float, lines[0])
    assert left < place_of_dot(drawing) < right
    assert 'class="whisker slow"' in drawing


def test_a_value_without_interval_is_a_dot_alone_and_a_missing_one_nothing() -> None:
    axis = Whiskers.over([Metric(2.0, "1")])

    assert re.findall(r"<line x1", axis.drawn(Metric(2.0, "1"), "")) == []
    assert axis.drawn(unavailable("speedup", "no plain model"), "") == ""


@given(st.lists(st.floats(0.01, 500), min_size=1, max_size=8))
def test_ticks_have_room_and_one_is_among_them(values: list[float]) -> None:
    drawn = Whiskers.over([Metric(value, "1") for value in values]).axis()
    places = sorted(float(place) for place in re.findall(r'<text x="([0-9.]+)"', drawn))

    assert ">1x<" in drawn
    assert all(right - left >= 29.8 for left, right in itertools.pairwise(places))
