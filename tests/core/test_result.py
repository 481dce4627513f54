from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rheostat.core.errors import RheostatError
from rheostat.core.goals import Limit
from rheostat.core.metrics import Metric
from rheostat.core.result import RESULT, Binding, Finding, Result, limit_words, read_result
from rheostat.core.score import efficiency_score

METRICS = {"accuracy": Metric(0.9, "1", 0.88, 0.92), "latency_p50": Metric(0.01, "s")}
FINDING = Finding(3, {"tokens": 0.5}, METRICS, efficiency_score(METRICS, METRICS), 1.5, 0.0, True, "random", "b")
BROKEN = replace(FINDING, excess=float("inf"), bundle=None, confirmed=False)
BINDING = Binding(Limit("accuracy", "least", 0.01, "difference"), 0.91, 0.9, BROKEN, 0.01, {"latency_p50": 0.5})
RESULT_ = Result(
    "ok",
    FINDING,
    (FINDING,),
    FINDING,
    {"linear": {"accuracy": 0.8, "meets": False}},
    BINDING,
    7,
    61.5,
    "budget",
    ("Why.",),
)


def test_a_result_comes_back_from_its_file(tmp_path: Path) -> None:
    RESULT_.write(tmp_path)

    assert read_result(tmp_path) == RESULT_
    assert read_result(tmp_path / "nowhere") is None


def test_infinity_is_not_written() -> None:
    assert json.loads(json.dumps(BROKEN.to_json(), allow_nan=False))["excess"] is None
    assert Finding.from_json(BROKEN.to_json()).excess == float("inf")


def test_an_empty_result() -> None:
    empty = Result("infeasible", None, (), None, {}, None, 1, 1.0, "budget")

    assert Result.from_json(empty.to_json()) == empty
    assert empty.finished
    assert not replace(empty, ended="interrupted").finished
    assert not replace(empty, ended="").finished


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    (tmp_path / RESULT).write_text('{"status": "ok"}')

    with pytest.raises(RheostatError, match=r"result.json .*KeyError"):
        read_result(tmp_path)


def test_limits_in_words() -> None:
    assert (
        limit_words(Limit("memory_peak_host", "most", 0.8, "ratio")) == "memory_peak_host at most 0.8 of the baseline's"
    )
    assert (
        limit_words(Limit("latency_p50", "most", 0.002, "difference")) == "latency_p50 at most 2 ms above the baseline"
    )
