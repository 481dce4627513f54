from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import Result

from rheostat.cli import heavy
from rheostat.cli.adapters import AdapterName, MaskName
from rheostat.cli.training import FinetuneOptions
from rheostat.train.adapters.trainable import Kind, Mask
from rheostat.train.recipes import Nested, Sandwich, Uniform
from rheostat.train.settings import FinetuneSettings

NOT_FOR_PEOPLE = {"technique", "columns", "trainable"}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []

    def train(settings: Mapping[str, Any], columns: Mapping[str, Any]) -> Path:
        seen.append({"settings": dict(settings), "columns": dict(columns)})
        heavy.finetune_settings(settings, columns)
        history = [{"epoch": 1, "1": {"loss": 0.5, "accuracy": 0.75}}]
        manifest = {"notes": ["Rows were held out."], "training": {"validation": history}}
        (tmp_path / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
        return tmp_path

    monkeypatch.setattr(heavy, "finetune", train)
    return seen


def test_every_setting_has_an_option_with_the_same_default() -> None:
    options = {field.name: field.default for field in fields(FinetuneOptions)}
    settings = {field.name: field.default for field in fields(FinetuneSettings)}

    assert set(settings) - NOT_FOR_PEOPLE <= set(options)
    for name, default in settings.items():
        if name not in NOT_FOR_PEOPLE and name not in ("model", "data", "out"):
            assert options[name] == default, name


def test_options_become_settings(run_json: Callable[..., Any], calls: list[dict[str, Any]], tmp_path: Path) -> None:
    arguments = ["--model", "m", "--data", "d.parquet", "--out", "b", "--task", "causal-lm", "--lora", "8"]
    data = run_json("finetune", *arguments, "--ordinary", "--text-column", "body")

    settings = calls[0]["settings"]
    assert (settings["task"], settings["lora"], settings["recipe"]) == ("causal-lm", 8, "plain")
    assert type(settings["task"]) is str
    assert calls[0]["columns"] == {"text": "body"}
    assert data["bundle"] == str(tmp_path)
    assert data["notes"] == ["Rows were held out."]


def test_adapter_options_become_what_is_trained(
    run: Callable[..., Result], run_json: Callable[..., Any], calls: list[dict[str, Any]]
) -> None:
    places = ["--model", "m", "--data", "d.parquet", "--out", "b"]
    run_json("finetune", *places)
    run_json("finetune", *places, "--adapter", "shira", "--mask", "weight", "--share", "0.01")
    run_json("finetune", *places, "--adapter", "last-k", "--last-blocks", "2")
    run_json("finetune", *places, "--adapter", "dora", "--rank", "4")
    assert [call["settings"]["trainable"] for call in calls] == [
        None,
        {"kind": "shira", "share": 0.01, "mask": "weight"},
        {"kind": "last-k", "blocks": 2},
        {"kind": "dora", "rank": 4},
    ]
    refused = run("finetune", *places, "--rank", "4")
    assert refused.exit_code == 2
    assert "The setting 'rank' belongs to lora" in refused.stderr


def test_every_kind_and_mask_has_its_option() -> None:
    assert tuple(AdapterName) == get_args(Kind)
    assert tuple(MaskName) == get_args(Mask)


def test_people_see_validation_and_what_comes_next(run: Callable[..., Result], calls: list[dict[str, Any]]) -> None:
    result = run("finetune", "--model", "m", "--data", "d.parquet", "--out", "b")

    assert "accuracy 75.00 %" in result.stdout
    assert "Next: rheostat calibrate" in result.stdout


def test_an_unfit_setting_is_refused(run: Callable[..., Result], calls: list[dict[str, Any]]) -> None:
    result = run("finetune", "--model", "m", "--data", "d", "--out", "b", "--keep-low", "2")

    assert result.exit_code == 2
    assert "keep_low" in result.stderr


def test_options_change_a_recipe(run: Callable[..., Result], calls: list[dict[str, Any]], tmp_path: Path) -> None:
    needed = ["finetune", "--model", "m", "--data", "d", "--out", "b"]
    run(*needed, "--recipe", "sandwich", "--keep-low", "0.1")
    run(*needed, "--lora", "4", "--keep-high", "0.9")
    file = tmp_path / "mine.yaml"
    file.write_text("recipe: nested\ndepths: [2, 4]\n", encoding="utf-8")
    run(*needed, "--recipe", str(file))

    made = [heavy.finetune_settings(call["settings"], {}).recipe for call in calls]
    assert made == [Sandwich(keep_low=0.1), Uniform(0.5, 0.9), Nested((2, 4))]


def test_a_recipe_that_lacks_the_setting_refuses_it(run: Callable[..., Result], calls: list[dict[str, Any]]) -> None:
    needed = ["finetune", "--model", "m", "--data", "d", "--out", "b"]
    refused = run(*needed, "--ordinary", "--keep-low", "0.1")
    assert refused.exit_code == 2
    assert "'plain' has no such setting" in refused.stderr
    assert "is the recipe 'plain'" in run(*needed, "--ordinary", "--recipe", "uniform").stderr
    assert "Did you mean 'sandwich'" in run(*needed, "--recipe", "sandwhich").stderr


def test_the_named_import_place_has_the_signature_of_the_fakes() -> None:
    assert list(inspect.signature(heavy.finetune).parameters) == ["settings", "columns"]
    assert list(inspect.signature(heavy.calibrate).parameters) == ["bundle", "data", "settings", "progress", "resume"]
    assert list(inspect.signature(heavy.load_data).parameters) == ["path", "task", "columns", "seed"]
