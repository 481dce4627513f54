"""A search for real: a tiny bundle, measured in processes of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rheostat.bundle import BundleInfo, load, save_bundle
from rheostat.core.result import read_result
from rheostat.models.sources import load_model
from rheostat.search.optimise import export_trial, nearest_study, optimise
from rheostat.search.scenario import Scenario
from rheostat.search.study import Study
from rheostat.techniques import TokenPruning
from tests.saved import make_data, save_tiny


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    loaded = load_model(save_tiny(tmp_path / "tiny"), "classification", label_names=["a", "b"])
    info = BundleInfo("classification", max_length=16, label_names=("a", "b"))
    save_bundle(tmp_path / "bundle", loaded.model, loaded.tokenizer, TokenPruning(floor=3), info)
    with (tmp_path / "d.jsonl").open("w") as file:
        for name, split in make_data().splits.items():
            for text, label in zip(split.texts, split.labels or (), strict=True):
                file.write(json.dumps({"text": text, "label": "ab"[label], "split": name}) + "\n")
    return Scenario.from_json(
        {
            "model": str(tmp_path / "bundle"),
            "data": str(tmp_path / "d.jsonl"),
            "limits": {"accuracy_drop": 100, "memory": "200%"},
            "budget": "10min",
            "measure": {"rounds": 3, "round_seconds": 0.01},
            "space": {
                "tokens": [1, 0.5],
                "depth": "off",
                "cascade": "off",
                "precision": ["fp32"],
                "batch": [4, 8],
                "threads": [1],
            },
        }
    )


@pytest.mark.slow
def test_a_bundle_is_optimised(tmp_path: Path, scenario: Scenario) -> None:
    result = optimise(scenario, tmp_path / "study")

    assert result.status == "ok"
    assert result.ended == "exhausted"
    assert result.recommended is not None
    assert result.baseline is not None
    assert result.baseline.configuration["tokens"] == 1.0
    assert set(result.cheap_baselines) == {"majority", "linear"}
    with Study(tmp_path / "study") as study:
        assert {trial.measurement.status for trial in study.trials()} == {"ok"}
        tried = {(trial.configuration["tokens"], trial.configuration["batch"]) for trial in study.trials()}
    assert tried == {(1.0, 4), (1.0, 8), (0.5, 4), (0.5, 8)}

    bundle = load(result.recommended.bundle or "")
    assert bundle.handle.settings["tokens"] == result.recommended.configuration["tokens"]
    assert bundle.predict(["w0 w1 w0"])[0].label in ("a", "b")
    assert bundle.manifest["deployment"]["batch"] == result.recommended.configuration["batch"]

    assert optimise(scenario, tmp_path / "study") == result == read_result(tmp_path / "study")
    half = next(trial.number for trial in study_trials(tmp_path / "study") if trial.configuration["tokens"] == 0.5)
    export_trial(tmp_path / "study", half, tmp_path / "out")
    assert load(tmp_path / "out").handle.settings["tokens"] == 0.5
    assert nearest_study(scenario, tmp_path / "other") == tmp_path / "study"


def study_trials(folder: Path) -> list:
    with Study(folder) as study:
        return study.trials()


@pytest.mark.slow
def test_a_classifier_that_was_tuned_elsewhere_is_optimised_without_a_training(
    tmp_path: Path, scenario: Scenario
) -> None:
    # Its own classifier and tokenizer, and nothing of ours beside them.
    for name in ("bundle.json", "README.md"):
        (tmp_path / "bundle" / name).unlink()
    asked = scenario.to_json()
    space = {**asked["space"], "recipe": ["none"], "batch": [4]}
    result = optimise(Scenario.from_json({**asked, "space": space}), tmp_path / "study")

    assert result.status == "ok"
    assert result.baseline is not None
    assert result.recommended is not None
    with Study(tmp_path / "study") as study:
        assert {trial.configuration["tokens"] for trial in study.trials()} == {1.0, 0.5}
        assert {trial.configuration["recipe"] for trial in study.trials()} == {"none"}
    bundle = load(result.recommended.bundle or "")
    assert bundle.label_names == ("a", "b")
    assert bundle.predict(["w0 w1 w0"])[0].label in ("a", "b")
