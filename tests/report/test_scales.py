from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.metrics import METRICS, Metric, unavailable
from rheostat.report.scales import direction_text, kind_of, provenance_text, scale_for


def full(name: str, value: float, low: float | None = None, high: float | None = None) -> str:
    metric = Metric(value, METRICS[name].unit, low, high)
    return scale_for(METRICS[name], [metric]).full(metric).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("text", "metric"),
    [
        ("12.3 ms (12.1 to 12.6)", ("latency_p50", 0.0123, 0.0121, 0.0126)),
        ("2.50 s", ("load_time", 2.5)),
        ("645.2 MiB (645.0 to 645.4)", ("memory_peak_host", 645.2 * 2**20, 645.0 * 2**20, 645.4 * 2**20)),
        ("87.15 % (85.11 to 89.19)", ("accuracy", 0.8715, 0.8511, 0.8919)),
        ("5.89x (5.72 to 6.06)", ("speedup", 5.89, 5.72, 6.06)),
        ("0.0306x (0.0299 to 0.0312)", ("speedup", 0.0306, 0.0299, 0.0312)),
        ("22.1", ("perplexity", 22.1)),
        ("26,509 /s", ("throughput_tokens", 26509.0)),
        ("22.0 G", ("macs", 2.2e10)),
        ("0.0135 USD", ("cost_per_million_tokens", 0.0135)),
        ("3.69x", ("compression_nominal_quality", 3.69)),
        ("589 mJ", ("energy_per_sample", 0.589)),
        ("0.00x", ("speedup", 0.0)),
    ],
)
def test_a_value_has_its_unit_and_only_digits_that_mean_something(text: str, metric: tuple[str, float]) -> None:
    assert full(*metric) == text


def test_a_column_has_one_unit() -> None:
    values = [Metric(value, "s") for value in (0.08, 0.4, 3.2)]
    scale = scale_for(METRICS["latency_p50"], values)

    assert [scale.text(value).split("\N{NO-BREAK SPACE}")[1] for value in values] == ["ms"] * 3


def test_an_interval_without_width_is_left_out() -> None:
    assert full("speedup", 1.0, 1.0, 1.0) == "1.00x"


def test_what_is_unavailable_has_no_text() -> None:
    missing = unavailable("energy_per_token", "no energy counter")

    assert scale_for(METRICS["energy_per_token"], [missing]).full(missing) == ""
    assert provenance_text(missing) == "unavailable (no energy counter)"


def test_a_metric_of_another_program_is_taken_by_its_name() -> None:
    kind = kind_of("hellaswag_accuracy", "1")

    assert (kind.title, direction_text(kind)) == ("hellaswag accuracy", "")
    assert direction_text(METRICS["latency_p50"]) == "lower is better"


@given(st.sampled_from(sorted(METRICS)), st.floats(1e-9, 1e15), st.floats(0, 0.9))
def test_any_value_is_written_near_its_size(name: str, value: float, share: float) -> None:
    metric = Metric(value, METRICS[name].unit, value * (1 - share), value * (1 + share))
    scale = scale_for(METRICS[name], [metric])
    number = float(re.sub(r"[^0-9.e+-]", "", scale.text(metric).split("\N{NO-BREAK SPACE}")[0].rstrip("x")))

    # Two fixed decimals may round a tiny share away; all else keeps two digits at least.
    assert number * scale.factor == pytest.approx(value, rel=0.01, abs=0.005 * scale.factor)
