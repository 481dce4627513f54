"""The benchmark of bf16 steps runs, and leaves the package as it was."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import half_precision
from rheostat.models import attention, wear


def test_half_precision_writes_a_table_and_json(tmp_path: Path) -> None:
    before = wear.HALF_WIDTHS, attention.MOST_KEPT
    out = tmp_path / "half.json"
    sizes = ["--tiny", "--tokens", "24", "--batch", "2", "--steps", "2", "--pairs", "2"]
    half_precision.main([*sizes, "--out", str(out)])
    rows = {row["steps"]: row for row in json.loads(out.read_text())["rows"]}
    assert set(rows) == set(half_precision.WITHOUT)
    assert all(row["ratio_95"][0] <= row["ratio"] <= row["ratio_95"][1] for row in rows.values())
    assert before == (wear.HALF_WIDTHS, attention.MOST_KEPT)
