"""The benchmark of precisions runs; what it finds is no matter of tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import precision


def test_precision_writes_a_table_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RHEOSTAT_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "precision.json"
    sizes = ["--tokens", "40", "--batch", "2", "--keep", "1", "0.5", "--precisions", "fp32", "int8-weight"]
    precision.main(["--tiny", "--pairs", "2", *sizes, "--each-backend", "--out", str(out)])
    found = json.loads(out.read_text())
    rows = {(row["precision"], row["keep"]) for row in found["rows"] if row["chosen"]}
    assert rows == {("fp32", 1.0), ("fp32", 0.5), ("int8-weight", 1.0), ("int8-weight", 0.5)}
    assert any(not row["chosen"] for row in found["rows"])
    assert found["probes"][0]["candidates"]
    assert all(row["speedup_95"][0] <= row["speedup"] <= row["speedup_95"][1] for row in found["rows"])
    assert "| int8-weight | torch-" in capsys.readouterr().out
