from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.errors import MeasurementError, RheostatError
from rheostat.core.measurement import FILE, Measurement, key_of, read_measurements, write_measurements
from rheostat.core.metrics import Metric


def one(**changes: Any) -> Measurement:
    content: dict[str, Any] = {
        "model": {"name": "small"},
        "configuration": {"tokens": 0.5},
        "workload": {"name": "classify"},
        "machine": {"cpu": "fast"},
        "status": "ok",
        "metrics": {"latency_p50": Metric(0.1, "s", 0.09, 0.11)},
        "samples": {"ratio": [1.0, 1.1]},
        "notes": ("The machine was busy.",),
    }
    return Measurement(**{**content, **changes})


def test_file_there_and_back(tmp_path: Path) -> None:
    written = [one(), one(configuration={}, status="timed-out", reason="it took longer than 5 s", metrics={})]
    write_measurements(tmp_path, written)
    assert read_measurements(tmp_path) == written
    assert read_measurements(tmp_path / FILE) == written


def test_a_record_names_what_the_format_promises(tmp_path: Path) -> None:
    write_measurements(tmp_path, [one()])
    record = json.loads((tmp_path / FILE).read_text())
    assert {"version", "key", "model", "configuration", "workload", "machine", "status", "metrics"} <= set(record)
    assert set(record["metrics"]["latency_p50"]) >= {"value", "unit", "low", "high", "provenance"}


@pytest.mark.parametrize("part", ["model", "configuration", "workload", "machine"])
def test_the_key_depends_on_everything_that_changes_the_result(part: str) -> None:
    assert one(**{part: {"other": 1}}).key != one().key
    assert one(status="failed", reason="x", metrics={}).key == one().key


@given(st.dictionaries(st.text(max_size=3), st.integers(-9, 9), max_size=4))
def test_the_key_knows_no_order_and_no_kind_of_number(content: dict[str, int]) -> None:
    turned = {name: float(content[name]) for name in reversed(list(content))}
    assert key_of({}, content, {}, {}) == key_of({}, turned, {}, {})


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    record = {**one().to_json(), "version": 2}
    (tmp_path / FILE).write_text(json.dumps(record) + "\n")
    with pytest.raises(MeasurementError, match="up to version 1.*version 2.*Update rheostat"):
        read_measurements(tmp_path)


@pytest.mark.parametrize("line", ["{", "[]", '{"version": 1}', '{"version": 1, "status": "great"}'])
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / FILE).write_text(json.dumps(one().to_json()) + "\n" + line + "\n")
    with pytest.raises(MeasurementError, match="line 2"):
        read_measurements(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="rheostat bench wrote to"):
        read_measurements(tmp_path)


def test_writing_into_a_file_instead_of_a_folder_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(RheostatError, match="folder that can be written"):
        write_measurements(tmp_path / "out", [one()])
    assert (tmp_path / "out").read_text() == "mine"
