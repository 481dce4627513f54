"""What tokens say about labels: learnt from train rows, put on the model, and kept with its bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel

from rheostat.bundle import load
from rheostat.cli.heavy import finetune_settings
from rheostat.core.errors import SettingError
from rheostat.core.text import Split
from rheostat.models.salience import salience_of
from rheostat.models.sources import load_model
from rheostat.techniques import TokenPruning, configure
from rheostat.testing import tiny_model
from rheostat.train import salience
from rheostat.train.finetune import FinetuneSettings, finetune
from rheostat.train.recipes import Mixed, Uniform
from rheostat.train.salience import early_dial, learn_salience, with_technique, words_tell
from tests.saved import make_data

GOOD, BAD, POOR, FILM, RARE = 10, 11, 12, 13, 14


class Tokenizer:
    """Knows special tokens, as Transformers' do."""

    all_special_ids = (0, 1, 2, 99)
    unk_token_id = 2


def rows(*given: tuple[int, list[int]]) -> list[dict[str, Any]]:
    return [{"label": label, "input_ids": [1, *ids]} for label, ids in given for _ in range(5)]


def learn(*given: tuple[int, list[int]]) -> torch.Tensor:
    return learn_salience(rows(*given), Tokenizer(), 20)  # type: ignore[arg-type]


def test_words_that_tell_the_labels_say_most() -> None:
    table = learn((0, [GOOD, FILM]), (1, [BAD, FILM]), (0, [GOOD, RARE]), (1, [BAD, RARE]))
    assert table.shape == (20,)
    assert table.dtype == torch.float32
    assert table[GOOD] == pytest.approx(1.0, abs=1e-3)
    assert table[BAD] == pytest.approx(1.0, abs=1e-3)
    assert table[FILM] < 0.1
    assert table[15] == 0.0


def test_of_several_labels_the_one_that_is_told_best_counts() -> None:
    table = learn((0, [GOOD, FILM]), (1, [BAD, FILM]), (2, [POOR, FILM]))
    assert table[[GOOD, BAD, POOR]].min() > 0.9
    assert table[FILM] < 0.1


def test_special_tokens_are_always_read_but_for_unknown_words() -> None:
    table = learn((0, [GOOD]), (1, [BAD, 2]))
    assert table[[0, 1]].tolist() == [torch.inf, torch.inf]
    assert 0.0 < table[2] <= 1.0


def test_the_same_rows_make_the_same_table() -> None:
    given = ((0, [GOOD, FILM]), (1, [BAD]))
    assert torch.equal(learn(*given), learn(*given))


@pytest.fixture
def settings(models: dict[str, Path], tmp_path: Path) -> FinetuneSettings:
    return FinetuneSettings(
        models["classification"], make_data(), tmp_path / "bundle", recipe=Mixed(), epochs=1, max_length=16
    )


def test_a_bundle_of_mixed_cuts_before_the_first_block(settings: FinetuneSettings) -> None:
    folder = finetune(settings)
    bundle = load(folder)
    assert bundle.handle.technique == TokenPruning(entry=0.4)
    assert "What each token id says about the labels" in " ".join(bundle.info.notes)
    ids = torch.arange(4, 16)[None]
    with torch.no_grad(), bundle.handle.at(tokens=0.3):
        bundle.model(input_ids=ids)
        entered = bundle.handle.entered()
    assert len(entered[0]) == 8
    with torch.no_grad(), bundle.handle.at(tokens=0.7):
        bundle.model(input_ids=ids)
        assert len(bundle.handle.entered()[0]) == 11
    again = load_model(str(folder), "classification").model
    table, own = salience_of(again), salience_of(bundle.model)
    assert table is not None
    assert own is not None
    assert torch.equal(table, own)
    # A bench and a search put configurations on: what the bundle names holds.
    bundle.handle.detach()
    handle = configure(bundle.model, {"tokens": 0.7, "entry": 0.8})
    with torch.no_grad():
        bundle.model(input_ids=ids)
    assert len(handle.entered()[0]) == 10


def test_the_table_is_part_of_what_is_checked(settings: FinetuneSettings) -> None:
    folder = finetune(settings)
    (folder / "salience.safetensors").unlink()
    with pytest.raises(Exception, match=r"salience\.safetensors: the file is missing"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "entry"),
    [
        ({}, 0.4),
        ({"recipe": Uniform()}, 0.0),
        ({"recipe": None}, 0.0),
        ({"technique": TokenPruning(entry=0.5)}, 0.5),
    ],
)
def test_the_recipe_says_the_entry_unless_the_technique_does(
    settings: FinetuneSettings, changes: dict[str, Any], entry: float
) -> None:
    changed = with_technique(
        replace(settings, **changes), make_data(), tiny_model("bert", AutoModel, num_hidden_layers=2)
    )
    assert changed.worn == TokenPruning(entry=entry)


@pytest.mark.parametrize(
    ("kind", "blocks", "entry"), [("bert", 1, 0.0), ("bert", 6, 0.8), ("bert", 12, 0.9), ("llama", 4, 1.0)]
)
def test_the_more_blocks_an_encoder_has_the_less_each_cuts(kind: str, blocks: int, entry: float) -> None:
    model = tiny_model(kind, AutoModel, num_hidden_layers=blocks)
    assert early_dial(model, make_data()).entry == pytest.approx(entry)
    assert early_dial(model, make_data("causal-lm")) == TokenPruning(entry=1.0, entry_scorer="ends")


@pytest.mark.parametrize(("told", "entry"), [(0.39, 0.0), (0.41, 0.8)])
def test_two_fifths_are_enough(monkeypatch: pytest.MonkeyPatch, told: float, entry: float) -> None:
    monkeypatch.setattr(salience, "words_tell", lambda train: told)
    assert early_dial(tiny_model("bert", AutoModel, num_hidden_layers=6), make_data()).entry == pytest.approx(entry)


def test_where_words_tell_nothing_everything_enters(settings: FinetuneSettings) -> None:
    # Which word comes first tells the label: no table of words could.
    texts = [("w1 w2", "w2 w1")[row % 2] for row in range(24)]
    data = replace(make_data(), splits={"train": Split(texts, labels=[row % 2 for row in range(24)])})
    assert words_tell(data.split("train")) == 0.0
    folder = finetune(replace(settings, data=data))
    bundle = load(folder)
    assert bundle.handle.technique == TokenPruning()
    assert "Every token enters the first block" in " ".join(bundle.info.notes)
    assert not (folder / "salience.safetensors").exists()


def test_what_words_tell_is_a_share_of_what_the_majority_gets_wrong() -> None:
    assert words_tell(make_data(rows=60).split("train")) == 1.0
    assert words_tell(Split(["w1"] * 6, labels=[0] * 6)) == 0.0
    assert words_tell(Split(["w1", "w2"], labels=[0, 1])) == 0.0


def test_going_on_without_an_entry_leaves_the_table_behind(settings: FinetuneSettings, tmp_path: Path) -> None:
    first = finetune(settings)
    second = finetune(replace(settings, model=first, out=tmp_path / "second", recipe=Uniform()))
    assert not (second / "salience.safetensors").exists()


def test_a_language_model_has_no_labels_to_go_by(writing: FinetuneSettings) -> None:
    with pytest.raises(SettingError, match="learnt from labels"):
        finetune(replace(writing, technique=TokenPruning(entry=0.5)))


def test_a_language_model_reads_the_ends_of_its_prompts(writing: FinetuneSettings) -> None:
    folder = finetune(replace(writing, recipe=Mixed()))
    bundle = load(folder)
    assert bundle.handle.technique == TokenPruning(entry=1.0, entry_scorer="ends")
    assert not (folder / "salience.safetensors").exists()
    assert "lies between its two ends" in (folder / "README.md").read_text()
    with torch.no_grad(), bundle.handle.at(tokens=0.5):
        bundle.model(input_ids=torch.arange(20)[None])
    assert bundle.handle.entered() == [[0, 1, *range(12, 20)]]


@pytest.mark.parametrize(("task", "by"), [("causal-lm", "ends"), ("classification", "salience")])
def test_the_command_line_cuts_a_prompt_by_place_and_a_text_by_words(task: str, by: str) -> None:
    asked = {"model": "m", "data": "d", "out": Path("o"), "task": task, "recipe": None, "recipe_changes": {}}
    made = finetune_settings({**asked, "entry": 0.5}, {})
    assert made.technique == TokenPruning(entry=0.5, entry_scorer=by)
