"""The stages of the depth benchmark follow each other, and a mixture of depths is judged fairly."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import depth
from benchmarks.common import tiny_model
from rheostat.core.errors import MeasurementError
from tests.saved import save_tiny


def test_stages_follow_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pandas

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess:
        # A new process takes seconds to import what is here already.
        assert command[:3] == [sys.executable, "-m", "benchmarks.depth"]
        return subprocess.CompletedProcess(command, 0, json.dumps(depth.weigh(depth._options(command[3:]))), "")

    monkeypatch.setattr(depth, "subprocess", SimpleNamespace(run=run))

    rows = [
        {"text": ("w1 w2 w3 w4 w5", "w0 w0 w7 w8")[row % 2], "label": row % 2, "split": split}
        for split in ("train", "validation", "test")
        for row in range(16)
    ]
    pandas.DataFrame(rows).to_parquet(tmp_path / "words.parquet")
    model = save_tiny(tmp_path / "model", num_hidden_layers=4)
    shared = [str(tmp_path / "words.parquet"), "--quick", "--model", str(model), "--work", str(tmp_path / "work")]
    shared += ["--results", str(tmp_path), "--max-length", "16", "--threads", "1", "--targets", "2.5", "3.5"]
    for stage in ("train", "depths", "exits"):
        depth.main([stage, *shared])
    found = json.loads((tmp_path / "depth-words-0-quick.json").read_text())
    assert found["train"].keys() == {"plain", "nested"}
    assert [row["depth"] for row in found["depths"]["speed"]] == [1, 2, 3, 4]
    assert len(found["depths"]["rows"]) == 8
    assert all(row["peak_MiB"] > 0 for row in found["depths"]["cost"])
    assert found["depths"]["switch"]["set_us"] > 0
    assert len(found["exits"]["rows"]) == 2 * 2 * 2
    for row in found["exits"]["rows"]:
        assert row["validation_mean_depth"] >= row["target"] - 1e-9
        assert sum(row["left_at"].values()) == 16
        assert 0 <= row["sample_alike"] <= row["sample_rows"] == 4
    before = (tmp_path / "depth-words-0-quick.json").read_text()
    depth.main(["train", *shared])
    assert (tmp_path / "depth-words-0-quick.json").read_text() == before
    depth.main(["speculate", "--tiny", "--results", str(tmp_path)])
    capsys.readouterr()
    depth.main(["table", *shared, "--tiny"])
    shown = capsys.readouterr().out
    assert "| 4 | " in shown
    assert "| nested | similarity | " in shown
    assert "| 5 of 6 | " in shown


def test_drafts_are_timed_beside_plain_writing(tmp_path: Path) -> None:
    depth.main(["speculate", "--tiny", "--results", str(tmp_path), "--draft-depths", "1", "5"])
    found = json.loads((tmp_path / "depth-speculate-tiny.json").read_text())
    assert [row["draft_depth"] for row in found["rows"]] == [1, 5]
    for row in found["rows"]:
        assert row["equal_prompts"] == row["prompts"] == 2
        assert row["first_differences"] == [None, None]
        assert 0 <= row["acceptance"] <= 1
    assert found["blocks"] == tiny_model().config.num_hidden_layers
    depth.main(["speculate", "--tiny", "--results", str(tmp_path), "--draft-depths", "1", "3"])
    again = json.loads((tmp_path / "depth-speculate-tiny.json").read_text())
    assert again["rows"][:2] == found["rows"]
    assert [row["draft_depth"] for row in again["rows"]] == [1, 5, 3]


def test_training_steps_that_fail_say_why(tmp_path: Path) -> None:
    options = depth._options(["depths", str(tmp_path / "none.parquet"), "--quick"])
    with pytest.raises(MeasurementError, match="Training steps of plain end well"):
        depth._costs(options)


def test_a_mixture_of_depths_is_a_line_between_them() -> None:
    fixed = {1: 0.5, 2: 0.7, 3: 0.8}
    assert [depth.interpolated(fixed, mean) for mean in (1, 1.5, 2.25, 3)] == pytest.approx([0.5, 0.6, 0.725, 0.8])


def test_the_first_difference_is_found() -> None:
    one = torch.tensor([[1, 2, 3]])
    assert depth._first_difference(one, one) is None
    assert depth._first_difference(one, torch.tensor([[1, 4, 3]])) == 1
