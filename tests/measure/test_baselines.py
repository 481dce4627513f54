from __future__ import annotations

import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from rheostat.core.errors import DataError, RheostatError, SettingError
from rheostat.core.text import Split, TextData
from rheostat.measure.baselines import _accuracy, _majority, baselines


def data(names=("bad", "good"), **splits):
    return TextData(splits, task="classification", label_names=names)


@given(st.lists(st.integers(0, 5), min_size=1))
def test_the_majority_is_a_most_frequent_label_and_of_equals_the_lowest(labels):
    counts = Counter(labels)
    most = max(counts.values())
    assert _majority(labels) == min(label for label, count in counts.items() if count == most)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1))
def test_accuracy_is_the_share_that_agrees(pairs):
    guesses, truth = zip(*pairs, strict=True)
    assert _accuracy(guesses, truth) * len(pairs) == pytest.approx([a == b for a, b in pairs].count(True))


def test_a_linear_model_learns_words_and_the_majority_is_that_of_train():
    train = Split(["good film", "good play", "bad film", "bad play", "bad song"], labels=[1, 1, 0, 0, 0])
    test = Split(["good song", "good show", "good day", "bad day"], labels=[1, 1, 1, 0])
    assert baselines(data(train=train, test=test)) == {
        "majority": {"accuracy": 0.25},
        "linear": {"accuracy": 1.0},
    }


def test_nothing_but_train_is_learnt_from(monkeypatch):
    learnt = []
    fit = TfidfVectorizer.fit
    monkeypatch.setattr(TfidfVectorizer, "fit", lambda self, texts: learnt.extend(texts) or fit(self, texts))
    train = Split(["good film", "bad film"], labels=[1, 0])
    turned = Split(["good film", "bad film"] * 10, labels=[0, 1] * 10)
    assert baselines(data(train=train, validation=turned, test=turned))["linear"] == {"accuracy": 0.0}
    assert learnt == train.texts


def test_three_classes_and_another_split():
    words = {"red": 0, "green": 1, "blue": 2}
    train = Split([f"{word} {row}" for row in range(5) for word in words], labels=[0, 1, 2] * 5)
    judged = Split(list(words), labels=list(words.values()))
    result = baselines(data(("r", "g", "b"), train=train, validation=judged), on="validation")
    assert result == {"majority": {"accuracy": pytest.approx(1 / 3)}, "linear": {"accuracy": 1.0}}


def test_pairs_are_told_apart_by_their_likeness():
    words = [f"word{number}" for number in range(40)]
    texts = [f"{words[row]} {words[row + 1]}" for row in range(39)]
    same = Split(texts, pairs=texts, labels=[1] * 39)
    other = Split(texts, pairs=texts[20:] + texts[:20], labels=[0] * 39)
    columns = (same.texts + other.texts, same.pairs + other.pairs, same.labels + other.labels)
    split = Split(*columns)
    assert baselines(data(train=split.take(range(0, 78, 2)), test=split.take(range(1, 78, 2))))["linear"] == {
        "accuracy": pytest.approx(1.0, abs=0.1)
    }


@pytest.mark.parametrize("texts", [["!", "?"], ["好", "坏"], ["🙂", "🙁"]])
def test_texts_without_words_are_learnt_too(texts):
    split = Split(texts * 3, labels=[1, 0] * 3)
    assert baselines(data(train=split, test=split))["linear"] == {"accuracy": 1.0}


def test_what_cannot_be_measured_is_refused(monkeypatch):
    split = Split(["good", "bad"], labels=[1, 0])
    with pytest.raises(DataError, match="need classes to predict. Given: data for causal-lm"):
        baselines(TextData({"train": Split(["a"])}, task="causal-lm"))
    with pytest.raises(SettingError, match="Given: test. Known: train"):
        baselines(data(train=split))
    monkeypatch.setitem(sys.modules, "sklearn.feature_extraction.text", None)
    with pytest.raises(RheostatError, match=r"pip install 'rheostat\[train\]'"):
        baselines(data(train=split, test=split))
