"""Fine-tuning settings refuse nonsense when they are made."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rheostat.core.errors import SettingError
from rheostat.techniques import TokenPruning
from rheostat.train.adapters import Trainable
from rheostat.train.rates import usual_rate
from rheostat.train.recipes import Plain, Uniform
from rheostat.train.settings import FinetuneSettings
from tests.saved import make_data

SETTINGS = FinetuneSettings("a-model", "data.parquet", "out")  # type: ignore[arg-type]


def test_the_defaults_are_the_papers() -> None:
    assert (SETTINGS.epochs, SETTINGS.batch_size, usual_rate("full", 768)) == (5, 8, 4e-5)
    assert SETTINGS.chosen_recipe == Uniform(0.02, 1.0)
    assert replace(SETTINGS, lora=8).chosen_recipe == Uniform(0.5, 1.0)
    assert replace(SETTINGS, lora=8, recipe=Plain()).chosen_recipe == Plain()
    assert SETTINGS.out == Path("out")


def test_what_is_trained_is_said_in_one_of_three_ways() -> None:
    assert SETTINGS.trained == Trainable("full")
    assert replace(SETTINGS, lora=4).trained == Trainable("lora", rank=4)
    wanted = Trainable("dora", rank=4)
    assert replace(SETTINGS, trainable=wanted).trained == wanted
    assert replace(SETTINGS, trainable=wanted.to_json()) == replace(SETTINGS, trainable=wanted)
    assert replace(SETTINGS, trainable=wanted).to_json()["trainable"] == wanted.to_json()
    assert replace(SETTINGS, trainable=wanted).chosen_recipe == Uniform(0.5, 1.0)
    assert replace(SETTINGS, trainable=Trainable("shira")).chosen_recipe == Uniform(0.02, 1.0)


def test_what_a_run_learns_from_is_json_without_places() -> None:
    said = SETTINGS.to_json()
    assert json.loads(json.dumps(said)) == said
    assert not {"data", "out", "resume", "save_minutes"} & set(said)
    assert said["technique"] is None
    assert replace(SETTINGS, technique=TokenPruning(floor=3)).to_json()["technique"]["floor"] == 3
    assert replace(SETTINGS, out="elsewhere", resume=True).to_json() == said
    assert replace(SETTINGS, seed=1).to_json() != said


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"task": "classificaton"}, "task is one of its options.*Did you mean 'classification'"),
        ({"loss_on": "survivor"}, "Did you mean 'survivors'"),
        ({"choose": "first"}, "Known: best, last"),
        ({"epochs": 0}, "epochs is a whole number from 1. Given: 0"),
        ({"epochs": 1.5}, "epochs is a whole number"),
        ({"batch_size": True}, "batch_size is a whole number"),
        ({"max_length": 3}, "max_length is a whole number from 4"),
        ({"seed": -1}, "seed is a whole number from 0"),
        ({"lora": 0}, "lora is a whole number from 1"),
        ({"limit": 0}, "limit is a whole number from 1"),
        ({"learning_rate": 0.0}, "learning_rate is a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate is a number above 0"),
        ({"weight_decay": -0.1}, "weight_decay is a number at least 0"),
        ({"warmup": 1.0}, "warmup is a number at least 0 and below 1"),
        ({"model_dropout": 1.0}, "model_dropout is a number at least 0 and below 1"),
        ({"recipe": "uniform"}, "recipe is a Recipe.*make_recipe"),
        ({"lora": 4, "trainable": Trainable("lora")}, "trained is said once.*Leave lora out"),
        ({"trainable": {"kind": "full", "rank": 4}}, "'rank' belongs to lora"),
        ({"data": make_data("causal-lm")}, "The data is for the task"),
        ({"task": "causal-lm", "loss_on": "continuation", "gradient_checkpointing": True}, "key-value cache"),
    ],
)
def test_nonsense_is_refused(change: dict, text: str) -> None:
    with pytest.raises(SettingError, match=text):
        replace(SETTINGS, **change)
