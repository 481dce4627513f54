"""The benchmark of training steps runs; what it finds is no matter of tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import training_cost


def test_training_cost_writes_a_table_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cost.json"
    training_cost.main(["--tiny", "--tokens", "24", "--batch", "2", "--steps", "2", "--pairs", "2", "--out", str(out)])
    rows = {row["recipe"]: row for row in json.loads(out.read_text())["rows"]}
    assert set(rows) == {"plain", "uniform", "mixed", "sandwich", "nested"}
    assert all(row["cost_95"][0] <= row["cost"] <= row["cost_95"][1] for row in rows.values())
    assert "The limit of 1x for uniform is" in capsys.readouterr().out
