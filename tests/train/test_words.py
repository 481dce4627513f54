"""What words say about labels by themselves: learnt from train rows, as probabilities that hold."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from transformers import AutoModelForSequenceClassification

from rheostat.bundle import load
from rheostat.models.words import set_words, word_logits, words_of
from rheostat.testing import tiny_model
from rheostat.train import words
from rheostat.train.finetune import FinetuneSettings, finetune
from rheostat.train.recipes import Plain
from rheostat.train.words import give_words, learn_words
from tests.saved import make_data


def rows(count: int, classes: int, noise: float, seed: int = 0) -> list[dict[str, Any]]:
    """Rows whose label is told by a few ids, but for a share of them."""
    chance = random.Random(seed)
    made = []
    for _ in range(count):
        label = chance.randrange(classes)
        told = label if chance.random() >= noise else chance.randrange(classes)
        ids = [chance.randrange(20, 60) for _ in range(chance.randrange(4, 12))]
        made.append({"label": label, "input_ids": [*ids, 2 + told, 10 + told]})
    return made


def answers(table: torch.Tensor, given: list[dict[str, Any]]) -> torch.Tensor:
    return torch.cat([word_logits(table, torch.tensor([row["input_ids"]]), None) for row in given])


@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_a_linear_model_on_tfidf(classes: int) -> None:
    learnt, others = rows(200, classes, 0.2), rows(50, classes, 0.2, seed=1)
    texts = [[" ".join(map(str, sorted({*row["input_ids"]}))) for row in part] for part in (learnt, others)]
    vectorizer = TfidfVectorizer(token_pattern=r"\d+")
    linear = LogisticRegression(C=10.0, max_iter=1000)
    linear.fit(vectorizer.fit_transform(texts[0]), [row["label"] for row in learnt])
    expected = torch.from_numpy(linear.predict_log_proba(vectorizer.transform(texts[1])))
    found = answers(learn_words(learnt, 60, classes), others).double()
    # But for one factor, that of the temperature.
    ones = [part - part.mean(-1, keepdim=True) for part in (found, expected)]
    scale = float((ones[0] * ones[1]).sum() / (ones[1] ** 2).sum())
    assert 0.01 < scale < 10.0
    torch.testing.assert_close(ones[0], scale * ones[1], atol=1e-4, rtol=1e-3)


def test_its_probabilities_hold() -> None:
    learnt, others = rows(900, 2, 0.4), rows(900, 2, 0.4, seed=1)
    labels = torch.tensor([row["label"] for row in others])
    said = answers(learn_words(learnt, 60, 2), others)
    losses = [float(torch.nn.functional.cross_entropy(factor * said, labels)) for factor in (0.5, 1.0, 2.0)]
    assert losses[1] < min(losses[0], losses[2])


def test_a_class_without_rows_is_unlikely() -> None:
    learnt = [{**row, "label": 2 * row["label"]} for row in rows(60, 2, 0.0)]
    table = learn_words(learnt, 60, 3)
    said = answers(table, learnt)
    assert [int(label) for label in said.argmax(-1)] == [row["label"] for row in learnt]
    assert float(said.softmax(-1)[:, 1].max()) < 0.05
    # Nothing but the bias is known of a text without a word of the table.
    assert float(word_logits(table, torch.tensor([[60]]), None).softmax(-1)[0, 1]) < 0.05


def test_a_few_rows_are_enough() -> None:
    few = [{"label": 0, "input_ids": [5, 6]}, {"label": 1, "input_ids": [7, 6]}]
    assert answers(learn_words(few, 60, 2), few).argmax(-1).tolist() == [0, 1]


def test_of_very_many_rows_some_of_each_class_are_learnt_from(monkeypatch: pytest.MonkeyPatch) -> None:
    many = rows(99, 3, 0.0)
    third = sorted(sorted(range(99), key=lambda at: many[at]["label"])[::3])
    expected = learn_words([many[at] for at in third], 60, 3)
    monkeypatch.setattr(words, "_MOST_ROWS", 33)
    assert torch.equal(learn_words(many, 60, 3), expected)


def test_where_there_are_no_labels_there_is_no_table() -> None:
    model = tiny_model("bert", AutoModelForSequenceClassification, num_labels=2)
    set_words(model, torch.zeros(61, 3))
    assert give_words(model, [{"input_ids": [5, 6]}, {"input_ids": [7]}]) is None
    assert words_of(model) is None
    assert give_words(model, [{"label": 1, "input_ids": [5]}, {"label": 1, "input_ids": [7]}]) is None
    assert "60 train rows" in str(give_words(model, rows(60, 2, 0.0)))
    assert words_of(model) is not None


def test_every_training_for_classification_learns_it(models: dict[str, Path], tmp_path: Path) -> None:
    data = make_data()
    folder = finetune(FinetuneSettings(models["classification"], data, tmp_path / "out", epochs=1, recipe=Plain()))
    bundle = load(folder)
    assert bundle.handle.neutral()["words"] == 0.0
    texts = data.split("validation").texts[:4]
    before, after = bundle.predict(texts), bundle.predict(texts, words=2)
    assert [row.probabilities for row in before] != [row.probabilities for row in after]
    assert any("dial words" in note for note in bundle.info.notes)
