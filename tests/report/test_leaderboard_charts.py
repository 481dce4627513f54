from __future__ import annotations

import pytest

from rheostat.report.leaderboard_charts import metrics_chart, metrics_words, trade_off_chart, trade_off_words
from rheostat.report.leaderboard_groups import Group, grouped
from rheostat.report.palette import contrast
from tests.report.measured import NASTY, classifier, classifiers, generators, odd


@pytest.fixture(scope="module")
def group() -> Group:
    return grouped(classifiers())[0]


def test_quality_over_speed_up_has_both_intervals_and_a_series_a_precision(group: Group) -> None:
    figure = trade_off_chart(group)
    assert figure is not None
    series = {trace.name: trace for trace in figure.data[1:]}

    assert set(series) == {"fp32", "int8", "bf16"}
    assert list(series["int8"].x) == [4.0, 2.0]
    assert list(series["int8"].y) == pytest.approx([86.0, 89.5])
    assert list(series["int8"].error_x.array) == pytest.approx([0.08, 0.04])
    assert list(series["int8"].error_y.arrayminus) == pytest.approx([1.72, 1.79])
    assert figure.layout.yaxis.title.text == "accuracy (%), up is better"


def test_the_front_is_a_line_of_rings_and_has_the_labels(group: Group) -> None:
    figure = trade_off_chart(group)
    assert figure is not None
    front, *series = figure.data

    assert list(front.x) == [1.0, 2.0, 4.0]
    assert front.marker.symbol == "circle-open"
    labels = {(x, text) for trace in series for x, text in zip(trace.x, trace.text, strict=True) if text}
    assert labels == {(1.0, "1"), (2.0, "0.8"), (4.0, "0.5")}


def test_up_is_better_also_for_a_perplexity() -> None:
    figure = trade_off_chart(grouped(generators())[0])
    assert figure is not None

    assert figure.layout.yaxis.autorange == "reversed"
    assert figure.layout.xaxis.type != "log"


def test_series_differ_in_more_than_colour_and_stand_out_on_both_pages(group: Group) -> None:
    figure = trade_off_chart(group)
    assert figure is not None
    series = figure.data[1:]

    assert len({trace.marker.symbol for trace in series}) == len({trace.marker.color for trace in series}) == 3
    for trace in series:
        assert min(contrast(trace.marker.color, "#ffffff"), contrast(trace.marker.color, "#14181d")) >= 3


def test_parallel_axes_have_the_best_value_at_the_right(group: Group) -> None:
    figure = metrics_chart(group)
    assert figure is not None
    notes = [note.text for note in figure.layout.annotations]
    fastest = next(trace for trace in figure.data if "tokens 0.5" in trace.hovertemplate)

    assert notes[:2] == ["<b>speed-up</b> \N{UPWARDS ARROW} 0.20x", "4.00x"]
    assert "<b>latency, p50</b> \N{DOWNWARDS ARROW} 2,000\N{NO-BREAK SPACE}ms" in notes
    assert dict(zip(fastest.y, fastest.x, strict=True)) == pytest.approx({0: 1.0, 1: 0.0, 2: 1.0, 3: 1.0})


def test_a_missing_value_leaves_a_gap_in_its_line(group: Group) -> None:
    figure = metrics_chart(group)
    assert figure is not None
    without = next(trace for trace in figure.data if "bf16" in trace.hovertemplate)

    assert list(without.y) == [0, 1, 2]


def test_charts_in_words_have_the_same_numbers(group: Group) -> None:
    assert "int8, tokens 0.8: 2.00x (1.96 to 2.04), 89.50\N{NO-BREAK SPACE}% (87.71 to 91.29)" in trade_off_words(group)
    assert "speed-up, 0.20x to 4.00x" in metrics_words(group)


def test_there_is_no_chart_of_nothing() -> None:
    for rows in (odd(), classifiers()[:1]):
        assert trade_off_chart(grouped(rows)[0]) is None
        assert metrics_chart(grouped(rows)[0]) is None


def test_names_cannot_smuggle_markup_into_a_chart() -> None:
    rows = [classifier(NASTY, 1.0, 1.0, 0.9), classifier(NASTY, 0.5, 2.0, 0.8)]
    figure = trade_off_chart(grouped(rows)[0])
    assert figure is not None

    assert "<script>" not in figure.data[1].name
    assert "<script>" not in figure.data[1].customdata[0]
