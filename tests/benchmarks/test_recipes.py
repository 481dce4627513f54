"""Recipes are compared at equal work, whatever their decay."""

import json
from pathlib import Path

import pytest

from benchmarks import recipes
from rheostat.core.text import Split
from rheostat.measure.macs import Plan, macs_ratio
from rheostat.measure.model_cost import cost_of
from rheostat.testing import tiny_model
from tests.saved import save_tiny

TEST = Split(["w1 w2 w3 " * 40], [0])


@pytest.mark.parametrize("keep", [0.5, 0.3, 0.1])
def test_equal_work_is_as_many_multiplications(keep: float) -> None:
    cost = cost_of(tiny_model("bert", num_hidden_layers=6))
    rate = recipes.equal_work(keep, 0.35, cost, TEST)
    assert rate < keep
    wanted = macs_ratio(cost, [recipes.usual_length(TEST.texts)], Plan(keep, protected=1))
    assert macs_ratio(cost, [recipes.usual_length(TEST.texts)], Plan(rate, protected=1, decay=0.35)) == pytest.approx(
        wanted, rel=0.02
    )
    assert recipes.equal_work(keep, 1.0, cost, TEST) == keep
    assert recipes.equal_work(1.0, 0.35, cost, TEST) == 1.0


def test_runs_are_judged_with_their_own_decay_and_stand_in_one_table(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
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
    mixed, plain = (json.loads(one.read_text()) for one in files)
    assert mixed["settings"]["technique"]["decay"] == 0.35
    assert plain["keep"]["fp32"] == {"1": 1.0, "0.5": 0.5, "0.3": 0.3, "0.1": 0.1}
    assert set(plain["accuracy"]["int8"]) == set(mixed["accuracy"]["int8"]) == {"0.5", "0.4", "0.3", "0.25", "0.2"}
    capsys.readouterr()
    recipes.main(["train", *shared])
    assert not capsys.readouterr().out, "what is on file was made again"
    recipes.main(["table", *shared])
    said = capsys.readouterr().out
    assert "| precision | keep at decay 1 | speed-up | keep at decay 0.35 | speed-up | plain | mixed |" in said
    assert "Steps: plain" in said
