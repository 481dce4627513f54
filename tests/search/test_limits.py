"""Limits and durations: what people write, read exactly, and said back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.errors import SettingError
from rheostat.core.goals import Limit
from rheostat.core.metrics import METRICS, Metric
from rheostat.search.limits import check_limits, duration_text, limit_of, limit_text, parse_duration, parse_limit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("latency_p95<=15ms", Limit("latency_p95", "most", 0.015)),
        ("latency_p95 ≤ 0.015", Limit("latency_p95", "most", 0.015)),
        ("memory <= 500MB", Limit("memory_peak_host", "most", 5e8)),
        ("memory_peak_host<=1.5 GiB", Limit("memory_peak_host", "most", 1.5 * 2**30)),
        ("memory_peak_host<=80%", Limit("memory_peak_host", "most", 0.8, "ratio")),
        ("energy <= 2mWh", Limit("energy_per_sample", "most", 7.2)),
        ("throughput_samples >= 20/s", Limit("throughput_samples", "least", 20.0)),
        ("speedup >= 2x", Limit("speedup", "least", 2.0)),
        ("accuracy >= 90%", Limit("accuracy", "least", 0.9)),
        ("accuracy >= 99% of baseline", Limit("accuracy", "least", 0.99, "ratio")),
        ("accuracy>=baseline-1pt", Limit("accuracy", "least", 0.01, "difference")),
        ("accuracy >= baseline - 0.012", Limit("accuracy", "least", 0.012, "difference")),
        ("accuracy >= baseline + 1 pt", Limit("accuracy", "least", -0.01, "difference")),
        ("accuracy >= baseline", Limit("accuracy", "least", 0.0, "difference")),
        ("perplexity <= baseline + 0.5", Limit("perplexity", "most", 0.5, "difference")),
        ("perplexity <= baseline + 5%", Limit("perplexity", "most", 1.05, "ratio")),
        ("latency_p50 <= baseline - 5ms", Limit("latency_p50", "most", -0.005, "difference")),
        ("latency_p50 <= baseline - 20%", Limit("latency_p50", "most", 0.8, "ratio")),
    ],
)
def test_a_limit_is_what_it_says(text: str, expected: Limit) -> None:
    assert parse_limit(text) == expected
    assert parse_limit(limit_text(expected)) == expected


def test_one_point_below_the_baseline_is_kept_and_a_little_more_is_not() -> None:
    limit = limit_of("accuracy_drop", "1")
    baseline = {"accuracy": Metric(0.9, "1")}

    assert limit.verdict({"accuracy": Metric(0.89, "1")}, baseline).kept
    assert not limit.verdict({"accuracy": Metric(0.8899, "1")}, baseline).kept


@pytest.mark.parametrize(
    ("name", "asked", "expected"),
    [
        ("latency_p95", "15ms", "latency_p95 <= 15ms"),
        ("accuracy", 0.9, "accuracy >= 0.9"),
        ("throughput_samples", 20, "throughput_samples >= 20"),
        ("accuracy_drop", 1, "accuracy >= baseline - 1pt"),
        ("accuracy_drop", "0.5pt", "accuracy >= baseline - 0.5pt"),
        ("perplexity_rise", 0.5, "perplexity <= baseline + 0.5"),
        ("latency_p95", ">= 5ms", "latency_p95 >= 5ms"),
        ("memory", "80%", "memory_peak_host <= 80%"),
    ],
)
def test_a_metric_alone_is_limited_for_the_worse(name: str, asked: object, expected: str) -> None:
    assert limit_of(name, asked) == parse_limit(expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("latency_p96 <= 15ms", "known name. Given: 'latency_p96'. Did you mean 'latency_p9"),
        ("latency_p95 < 15ms", "A limit is a metric, <= or >=, and how much."),
        ("latency_p95 <= 15MB", "in a unit that fits it. Given: '15MB'"),
        ("latency_p95 <= soon", "is a number, with a unit or without. Given: 'soon'"),
        ("accuracy >= 0.9ms", "in a unit that fits it. Given: '0.9ms'"),
        ("accuracy >= baseline - 1%", "is given in points. Given: baseline - 1%. Write 'baseline - 1pt'"),
        ("latency_p95 <= x%", "The limit of 'latency_p95' is a number."),
        ("", "A limit is a metric"),
        ("accuracy >= baseline - -1pt", "one sign"),
    ],
)
def test_what_is_no_limit_is_refused(text: str, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_limit(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "asked", "said"),
    [
        ("accuracy_drop", -1, "may lose is a number from 0. Given: accuracy_drop: -1"),
        ("latency_p95_drop", "1ms", "change for the worse. Given: 'latency_p95_drop'"),
        ("acuracy_drop", 1, "Did you mean 'accuracy'"),
        ("memmory", "1MB", "Did you mean 'memory'"),
    ],
)
def test_a_short_limit_that_is_none_is_refused(name: str, asked: object, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        limit_of(name, asked)


@pytest.mark.parametrize(
    "texts",
    [
        ("latency_p95 <= 10ms", "latency_p95 >= 20ms"),
        ("accuracy >= baseline + 2pt", "accuracy <= baseline + 1pt"),
        ("memory_peak_host <= 50%", "memory_peak_host >= 60%"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(SettingError, match="leave some value"):
        check_limits([parse_limit(text) for text in texts])


@pytest.mark.parametrize(
    "text", ["accuracy >= 1.5", "latency_p95 <= 0", "latency_p95 <= -1ms", "accuracy >= baseline - 200pt"]
)
def test_a_limit_that_nothing_can_keep_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="one that a configuration could keep"):
        check_limits([parse_limit(text)])


def test_limits_that_leave_a_value_are_taken() -> None:
    check_limits([parse_limit("latency_p95 <= 10ms"), parse_limit("latency_p95 >= 10ms")])
    check_limits([parse_limit("accuracy >= 0.9"), parse_limit("accuracy <= baseline - 5pt")])


@given(
    st.sampled_from(sorted(METRICS)),
    st.sampled_from(["most", "least"]),
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15),
    st.sampled_from(["nothing", "difference", "ratio"]),
)
def test_every_limit_is_said_so_that_it_is_read_back_exactly(metric: str, bound: str, value: float, to: str) -> None:
    limit = Limit(metric, bound, value, to)  # type: ignore[arg-type]

    assert parse_limit(limit_text(limit)) == limit


@given(st.text(max_size=30))
def test_any_text_is_a_limit_or_is_refused_in_our_words(text: str) -> None:
    for read in (parse_limit, parse_duration, lambda text: limit_of("latency_p95", text)):
        try:
            read(text)
        except SettingError:
            continue


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45min", 2700), ("90s", 90), ("2h", 7200), ("1h30min", 5400), (600, 600), ("0.5 h", 1800), ("1500ms", 1.5)],
)
def test_durations_are_read(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(duration_text(seconds)) == seconds


@pytest.mark.parametrize("text", ["soon", "", "45 parsecs", "-1min", "0s", True, None, "1h 30", "nan", "inf", [1]])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(SettingError, match="A duration is"):
        parse_duration(text)


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_every_duration_is_said_so_that_it_is_read_back_exactly(seconds: float) -> None:
    assert parse_duration(duration_text(seconds)) == seconds
