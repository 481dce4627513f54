"""The stages of the benchmark of recipes follow each other."""

import json
from pathlib import Path

import pytest

from benchmarks import recipes
from tests.saved import save_tiny


def test_runs_are_judged_once_and_stand_in_one_table(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import pandas

    rows = [
        {"text": ("w1 w2 w3 w4 w5", "w0 w0 w7 w8")[row % 2], "label": row % 2, "split": split}
        for split in ("train", "validation", "test")
        for row in range(16)
    ]
    pandas.DataFrame(rows).to_parquet(tmp_path / "words.parquet")
    shared = [str(tmp_path / "words.parquet"), "--recipes", "plain", "mixed", "--results", str(tmp_path)]
    shared += ["--model", str(save_tiny(tmp_path / "model")), "--work", str(tmp_path / "work"), "--minutes", "0.01"]
    recipes.main(["train", *shared, "--max-length", "16", "--precision", "fp32"])
    files = sorted((tmp_path / "recipes-words").iterdir())
    assert [one.name for one in files] == ["mixed-0.json", "plain-0.json"]
    for row in (json.loads(one.read_text()) for one in files):
        assert set(row["accuracy"]["fp32"]) == {"1", "0.5", "0.3", "0.1"}
        assert set(row["accuracy"]["int8"]) == {"0.5", "0.4", "0.3", "0.25", "0.2"}
    capsys.readouterr()
    recipes.main(["train", *shared])
    assert not capsys.readouterr().out, "what is on file was made again"
    recipes.main(["table", *shared])
    said = capsys.readouterr().out
    assert "| precision | keep | measured speed-up | plain | mixed |" in said
    assert "Steps: plain" in said
