from __future__ import annotations

from typing import Any

import pytest

from rheostat.core.errors import SettingError
from rheostat.core.workload import Method, Workload, task_of_workload


def test_defaults_are_written_out() -> None:
    assert Workload("classify").to_json()["batch_size"] == 8
    assert Workload("generate").to_json()["batch_size"] == 1
    assert Workload("generate", batch_size=3).rows == 3


def test_what_a_workload_does_not_use_is_not_part_of_it() -> None:
    assert Workload("classify", new_tokens=3).to_json() == Workload("classify").to_json()
    assert "new_tokens" in Workload("generate").to_json()


def test_an_unknown_workload_is_met_with_the_nearest() -> None:
    with pytest.raises(SettingError, match="classify, prefill, generate, train.*prefil.*prefill"):
        Workload("prefil")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "settings", "words"),
    [
        (Workload, {"name": "classify", "batch_size": 0}, "batch_size"),
        (Workload, {"name": "classify", "prompt_tokens": 1.5}, "prompt_tokens"),
        (Method, {"rounds": 0}, "at least 3 rounds"),
        (Method, {"iterations": 0}, "iterations is a whole number from 1"),
        (Method, {"time_limit": 0.0}, "time_limit"),
        (Method, {"memory_limit": True}, "memory_limit"),
    ],
)
def test_nonsense_is_refused(kind: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingError, match=words):
        kind(**settings)


def test_tasks() -> None:
    assert task_of_workload("classify") == "classification"
    assert task_of_workload("generate") == "causal-lm"
    assert task_of_workload("train") is None
