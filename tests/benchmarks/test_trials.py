"""Trials end by counted time, on texts that they did not learn from."""

import json
from pathlib import Path

import pandas
import pytest

from benchmarks import trials
from benchmarks.trials import SECOND_PER_MAC, SECONDS_PER_STEP, Clock, Trial
from rheostat.measure.macs import Plan, planned_row
from rheostat.measure.model_cost import cost_of
from rheostat.testing import tiny_model
from tests.saved import save_tiny


def test_counted_seconds_foretell_what_a_third_recipe_took() -> None:
    # MiniLM's sizes, reviews of imdb's middle lengths: 17 minutes held 753 plain steps and 2,250 of uniform.
    from transformers import AutoModelForSequenceClassification

    sizes = {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12, "num_hidden_layers": 6}
    model = tiny_model("bert", AutoModelForSequenceClassification, **sizes)
    clock, cost = Clock(SECOND_PER_MAC, SECONDS_PER_STEP), cost_of(model)
    widths, rates = range(130, 385, 10), [0.02 + 0.98 * at / 40 for at in range(41)]

    def step(rate: float) -> float:
        return sum(clock.seconds(8 * planned_row(cost, width, Plan(rate=rate)).total) for width in widths) / len(widths)

    plain, uniform = step(1.0), sum(map(step, rates)) / len(rates)
    assert uniform / plain == pytest.approx(753 / 2250, rel=0.06)


def test_trials_are_made_once_and_judged_on_far_texts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "w1 w2 w3 w4 w5 w6 w7 w8 w9 w5 w6"
    rows = [{"text": f"w{row % 7} w{row % 2} {words}", "label": row % 2, "split": "train"} for row in range(48)]
    rows += [{"text": "w1 w2", "label": row % 2, "split": "test"} for row in range(4)]
    pandas.DataFrame(rows).to_parquet(tmp_path / "words.parquet")
    grid = [
        {"name": "plain", "recipe": {"recipe": "plain"}, "learning_rate": 1e-3, "max_length": 16, "minutes": 0.004},
        {
            "name": "low",
            "recipe": {"recipe": "mixed", "full": 0.0},
            "learning_rate": 1e-3,
            "max_length": 16,
            "minutes": 0.004,
        },
    ]
    (tmp_path / "grid.json").write_text(json.dumps(grid))
    given = [
        str(tmp_path / "words.parquet"),
        "--grid",
        str(tmp_path / "grid.json"),
        "--out",
        str(tmp_path / "out.jsonl"),
    ]
    given += ["--model", str(save_tiny(tmp_path / "model")), "--judged", "10", "--folds", "0", "1", "--workers", "1"]
    # A tiny model's multiplications take next to no time: here they are dear, and nothing else counts.
    given += ["--seconds-per-step", "0", "--second-per-mac", "7e-9"]
    trials.main(given)
    lines = trials._lines(tmp_path / "out.jsonl")
    assert sorted((line["trial"]["name"], line["trial"]["fold"]) for line in lines) == [
        ("low", 0), ("low", 1), ("plain", 0), ("plain", 1)
    ]  # fmt: skip
    steps = {name: {line["steps"] for line in lines if line["trial"]["name"] == name} for name in ("plain", "low")}
    assert len(steps["plain"]) == 1
    assert min(steps["low"]) > max(steps["plain"]) >= 4, "a pruned step is charged for what it does"
    assert all(set(line["judged"]["2"]) >= {"1", "0.5", "0.2"} for line in lines)
    said = capsys.readouterr().out
    assert said.startswith("| trial | depth | folds | steps |")
    assert f"| plain | 2 | 2 | {steps['plain'].pop()} |" in said
    trials.main(given)
    assert len(trials._lines(tmp_path / "out.jsonl")) == 4, "what is on file was made again"


def test_a_recipe_of_depths_is_judged_at_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": f"w{row % 7} w{row % 2} w3 w4", "label": row % 2, "split": "train"} for row in range(48)]
    rows += [{"text": "w1 w2", "label": row % 2, "split": "test"} for row in range(4)]
    pandas.DataFrame(rows).to_parquet(tmp_path / "words.parquet")
    trial = {"name": "both", "recipe": {"recipe": "nested", "depths": [1, 2]}, "learning_rate": 1e-3, "depths": [1]}
    (tmp_path / "grid.json").write_text(json.dumps([{**trial, "max_length": 16, "minutes": 0.004}]))
    given = [str(tmp_path / "words.parquet"), "--grid", str(tmp_path / "grid.json"), "--out", str(tmp_path / "o.jsonl")]
    given += ["--model", str(save_tiny(tmp_path / "model")), "--judged", "10", "--workers", "1"]
    given += ["--seconds-per-step", "0", "--second-per-mac", "7e-9"]
    trials.main(given)
    (line,) = trials._lines(tmp_path / "o.jsonl")
    assert set(line["judged"]) == {"1", "2"}
    assert line["judged"]["1"]["1"]["loss"] != line["judged"]["2"]["1"]["loss"]
    said = capsys.readouterr().out
    assert "| both | 1 | 1 |" in said
    assert "| both | 2 | 1 |" in said
    trials.main(given)
    assert len(trials._lines(tmp_path / "o.jsonl")) == 1, "what is on file was made again"


def test_a_trial_that_does_not_exist_is_refused() -> None:
    with pytest.raises(TypeError, match="keep"):
        Trial(name="a", recipe={}, learning_rate=1e-4, keep=1)  # type: ignore[call-arg]
