"""Whether a scenario can be done here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rheostat.core.errors import SettingError
from rheostat.measure.probes import Instruments
from rheostat.search.checks import check_budget, check_measurable, unmeasurable
from rheostat.search.scenario import Scenario, read_scenario

BARE = Instruments("wall clock", (), "the processor shows no energy counter", False)
RICH = Instruments("wall clock", ("nvml",), None, True, "NVML (counter)")
ESTIMATE = Instruments("wall clock", (), "no counter", False, "CodeCarbon (estimated)")


def scenario(**parts: Any) -> Scenario:
    return Scenario.from_json({"model": "m", "data": "d", **parts})


@pytest.mark.parametrize(
    ("parts", "here", "said"),
    [
        (
            {"limits": ["energy <= 80%"]},
            BARE,
            "'energy_per_sample': this machine has no energy counter and no estimate",
        ),
        ({"limits": ["memory_peak_device <= 1GB"]}, BARE, "there is no CUDA device"),
        ({"limits": ["memory_peak_device <= 1GB"]}, RICH, "the model runs on the processor"),
        ({"limits": ["perplexity <= 9"]}, RICH, "it is a metric of language models"),
        ({"limits": ["accuracy >= 0.9"], "task": "causal-lm"}, RICH, "it is a metric of classifiers"),
        ({"limits": ["tpot_p50 <= 1ms"]}, RICH, "the workload classify writes no tokens"),
        ({"limits": ["ttft_p50 <= 1ms"]}, RICH, "the workload classify keeps no cache"),
        ({"limits": ["arc/acc >= 50%"]}, RICH, "does not run tasks of lm-evaluation-harness"),
        ({"objectives": ["power_mean"]}, BARE, "An objective is on what can be measured here"),
        ({"objectives": ["cost_per_million_tokens"]}, RICH, "no price of an hour of 'cpu'"),
    ],
)
def test_what_cannot_be_measured_here_is_refused(parts: Any, here: Instruments, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        check_measurable(scenario(**parts), lambda: here)
    assert said in str(caught.value)
    assert "Known: " in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "here"),
    [
        ({"limits": ["energy <= 80%"]}, ESTIMATE),
        ({"limits": ["memory_peak_device <= 1GB"], "measure": {"device": "cuda"}}, RICH),
        ({"objectives": ["cost_per_million_tokens"], "prices": {"cpu": 0.1, "currency": "USD"}}, BARE),
        ({"limits": ["perplexity <= 9", "ttft_p50 <= 1s", "tpot_p50 <= 1s"], "task": "causal-lm"}, BARE),
    ],
)
def test_what_can_be_measured_is_taken(parts: Any, here: Instruments) -> None:
    check_measurable(scenario(**parts), lambda: here)


def test_the_machine_is_only_asked_where_that_matters() -> None:
    def asked() -> Instruments:
        raise AssertionError("asked")

    assert unmeasurable(scenario(), ("accuracy", "latency_p95", "memory_peak_host"), asked) == {}


def test_a_limit_that_cannot_be_measured_is_found_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("model: m\ndata: d\nlimits:\n  latency_p95: 15ms\n  energy: 80%\n", encoding="utf-8")
    with pytest.raises(SettingError, match=r"s.yaml, line 5, column 3: 'energy_per_sample'"):
        check_measurable(read_scenario(file), lambda: BARE)


def test_a_budget_that_is_too_small_says_how_much_is_needed() -> None:
    with pytest.raises(SettingError, match=r"Given: 20s, and the baseline.* takes about 4min. Give it 4min or more"):
        check_budget(scenario(budget="20s"), 181.0)
    with pytest.raises(SettingError, match="takes about 31s"):
        check_budget(scenario(budget="30s"), 30.5)
    check_budget(scenario(budget="4min"), 181.0)
