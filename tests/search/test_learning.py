"""From axes to the settings of a training, and to a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest

from rheostat.bundle import load, read_manifest
from rheostat.core.errors import SettingError
from rheostat.core.text import TextData
from rheostat.models.salience import salience_of
from rheostat.search.facts import facts_of
from rheostat.search.learning import learn, read_texts, settings_of, write_texts
from rheostat.techniques import TokenPruning
from rheostat.train.adapters.trainable import Trainable
from rheostat.train.recipes import Plain, Uniform
from tests.saved import make_data, save_tiny


def test_axes_win_over_what_all_share(data: TextData) -> None:
    axes = {"recipe": "plain", "adapter": "lora", "rank": 4, "learning_rate": 1e-3}
    found = settings_of("m", data, Path("out"), axes, {"learning_rate": 1e-4, "epochs": 2, "lora": None})
    assert isinstance(found.recipe, Plain)
    assert found.trained == Trainable("lora", rank=4)
    assert (found.learning_rate, found.epochs, found.resume) == (1e-3, 2, True)
    assert isinstance(settings_of("m", data, Path("out"), {}, {}).chosen_recipe, Uniform)


def test_unfit_axes(data: TextData) -> None:
    with pytest.raises(SettingError, match="Name the adapter"):
        settings_of("m", data, Path("out"), {"rank": 4}, {})
    with pytest.raises(SettingError, match="belongs to"):
        settings_of("m", data, Path("out"), {"adapter": "lora", "share": 0.01}, {})


@pytest.mark.parametrize("task", ["classification", "causal-lm"])
def test_texts_come_back(tmp_path: Path, task: str) -> None:
    data = make_data(task)
    write_texts(tmp_path / "a" / "b.texts", data, ("train", "test"))
    again = read_texts(tmp_path / "a" / "b.texts")
    assert again == TextData({"train": data.split("train")}, data.task, data.label_names, data.notes)


def test_a_model_as_it_is_and_a_trained_one(tmp_path: Path, data: TextData) -> None:
    source = save_tiny(tmp_path / "model")
    write_texts(tmp_path / "texts", data, ("train", "validation"))
    order = {"model": str(source), "data": str(tmp_path / "texts"), "training": {}, "more": {"epochs": 1, "limit": 8}}
    learn({**order, "out": str(tmp_path / "wrapped")})
    wrapped = load(tmp_path / "wrapped")
    assert wrapped.label_names == data.label_names
    # Words tell the labels of these texts, so that a cut before the first block needs no training.
    assert wrapped.handle.technique == TokenPruning(entry=0.4)
    assert salience_of(wrapped.model) is not None
    assert wrapped.handle.neutral()["words"] == 0.0
    for _ in range(2):
        # The second time it is there.
        learn({**order, "training": {"recipe": "plain"}, "out": str(tmp_path / "trained")})
    assert read_manifest(tmp_path / "trained")["training"]["settings"]["recipe"] == {"recipe": "plain"}
    assert facts_of(str(tmp_path / "trained"), "classification").words
    (tmp_path / "trained" / "words.safetensors").unlink()
    assert not facts_of(str(tmp_path / "trained"), "classification").words


def test_a_language_model_as_it_is_reads_the_ends_of_prompts(tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "model", "causal-lm")
    write_texts(tmp_path / "texts", make_data("causal-lm"), ("train", "validation"))
    order = {"model": str(source), "data": str(tmp_path / "texts"), "training": {}, "more": {}}
    learn({**order, "out": str(tmp_path / "wrapped")})
    assert load(tmp_path / "wrapped").handle.technique == TokenPruning(entry=1.0, entry_scorer="ends")
