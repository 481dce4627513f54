from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModel, AutoModelForSequenceClassification
from typer.testing import Result

from rheostat.search.scenario import read_scenario
from rheostat.testing import tiny_model

Run = Callable[..., Result]
INIT = ("--yes", "--model", "m", "--data", "d.csv")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    tiny_model("bert", AutoModel).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def test_people_see_axes_by_stage_and_what_was_left_out(run: Run, model: Path) -> None:
    shown = run("space", "--model", model, "--space", "tokens=1,0.5", env={"COLUMNS": "200"}).stdout

    assert shown.index("Finetuning") < shown.index("Inference") < shown.index("Deployment") < shown.index("Left out")
    assert "0.5, 1.0" in shown
    assert "recipe nested" in shown
    assert "configurations." in shown
    assert "a key-value cache is what a decoder has, and BERT is none" in shown


def test_machines_get_everything(run_json: Callable[..., Any], model: Path) -> None:
    data = run_json("space", "--model", model, "--space", "backend=auto,torch-int-mm recipe=plain adapter=off")

    assert data["model"]["blocks"] == 4
    assert data["default"]["precision"] == "fp32"
    assert {axis["name"] for axis in data["axes"]} >= {"tokens", "precision", "backend", "batch"}
    assert data["size"] > 100
    assert any(each["name"] == "adapter" and "switched off" in each["reason"] for each in data["exclusions"])
    assert any("torch itself" in each["reason"] for each in data["conflicts"])


def test_the_space_of_a_file_knows_its_data(run_json: Callable[..., Any], model: Path, tmp_path: Path) -> None:
    rows = "\n".join(f"text {number},{number % 2}" for number in range(30))
    (tmp_path / "d.csv").write_text(f"text,label\n{rows}\n", encoding="utf-8")
    file = tmp_path / "s.yaml"
    file.write_text(f"model: {model}\ndata: {tmp_path}/d.csv\nspace: {{tokens: off}}\n", encoding="utf-8")
    data = run_json("space", file, "--space", "threads=1")

    assert "recipe" in {axis["name"] for axis in data["axes"]}
    assert "tokens" not in data["default"]
    assert data["default"]["threads"] == 1


@pytest.mark.parametrize(("classes", "default"), [(("no", "yes"), "none"), (("yes", "no"), "plain")])
def test_a_classifier_for_the_classes_of_the_data_is_run_as_it_is(
    run_json: Callable[..., Any], tmp_path: Path, classes: tuple[str, str], default: str
) -> None:
    rows = "\n".join(f"text {number},{('no', 'yes')[number % 2]}" for number in range(30))
    (tmp_path / "d.csv").write_text(f"text,label\n{rows}\n", encoding="utf-8")
    model = tiny_model("bert", AutoModelForSequenceClassification)
    model.config.id2label = dict(enumerate(classes))
    model.save_pretrained(tmp_path / "model")
    data = run_json("space", "--model", tmp_path / "model", "--data", tmp_path / "d.csv")

    assert data["default"]["recipe"] == default
    reasons = [each["reason"] for each in data["exclusions"] if (each["name"], each["value"]) == ("recipe", "none")]
    assert reasons == ([] if default == "none" else [data["model"]["unready"]])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "A space is that of a model, or of a scenario."),
        (["--model", "m", "--space", "tokenz=1"], "Did you mean 'tokens'?"),
        (["none.yaml"], "can be read"),
    ],
)
def test_a_space_that_cannot_be_made_says_why(run: Run, arguments: list[str], said: str) -> None:
    result = run("space", *arguments)

    assert result.exit_code == 2
    assert said in result.stderr


def test_init_writes_a_file_that_is_read_back(run_json: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    data = run_json("init", file, *INIT, "--latency-p95", "15ms", "--text-column", "review", "--budget", "45min")
    scenario = read_scenario(file)

    assert data["scenario"] == scenario.to_json()
    assert scenario.limits[0].value == 0.015
    assert scenario.data.columns == {"text": "review"}
    assert scenario.budget_seconds == 2700
    assert "# What every configuration that is recommended has to keep." in file.read_text(encoding="utf-8")


def test_init_asks_until_an_answer_fits(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    answers = ["m", "d.csv", "clasification", "classification", "soon", "15ms", "none", "80%", "20min"]
    result = run("init", file, input="\n".join(answers) + "\n")

    assert result.exit_code == 0, result.output
    assert "Did you mean 'classification'?" in result.stderr
    assert "Given: 'soon'" in result.stderr
    scenario = read_scenario(file)
    assert [limit.metric for limit in scenario.limits] == ["latency_p95", "memory_peak_host"]
    assert scenario.budget_seconds == 1200


def test_a_file_that_is_there_is_only_replaced_when_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("mine", encoding="utf-8")

    refused = run("init", file, *INIT)
    assert refused.exit_code == 2
    assert "only replaced when that is asked for" in refused.stderr
    assert run("init", file, input="n\n").exit_code == 2
    assert file.read_text(encoding="utf-8") == "mine"
    assert run("init", file, *INIT, "--force").exit_code == 0
    assert read_scenario(file).model == "m"


def test_stopping_writes_nothing(run: Run, tmp_path: Path) -> None:
    result = run("init", tmp_path / "s.yaml", input="m\n")

    assert result.exit_code == 130
    assert "nothing was written" in result.stderr
    assert not (tmp_path / "s.yaml").exists()


def test_without_asking_model_and_data_are_needed(run: Run, tmp_path: Path) -> None:
    result = run("init", tmp_path / "s.yaml", "--yes", "--model", "m")

    assert result.exit_code == 2
    assert "no --data" in result.stderr
