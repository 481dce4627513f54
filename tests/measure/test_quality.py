import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from rheostat.core.errors import MeasurementError
from rheostat.core.text import Split
from rheostat.measure.encoding import windows
from rheostat.measure.quality import classification_quality, continuations, language_quality, macro_f1
from tests.measure.conftest import make_split


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_macro_f1_agrees_with_scikit_learn(outcomes):
    truths, guesses = zip(*outcomes, strict=True)
    assert macro_f1(outcomes) == pytest.approx(f1_score(truths, guesses, average="macro"))


@pytest.mark.parametrize("tokens", [1.0, 0.4])
def test_classification_is_judged_row_by_row_in_the_split_s_order(classifier, tokens):
    split = make_split(13, 5)
    right = 0
    for text, label in zip(split.texts, split.labels, strict=True):
        with torch.no_grad(), classifier.handle.at(tokens=tokens):
            logits = classifier.model(**classifier.tokenizer(text, return_tensors="pt")).logits
        right += int(logits.argmax()) == label
    found = classification_quality(classifier, split, {"tokens": tokens}, batch_size=4)
    assert found.values["accuracy"] == right / 13
    low, high = found.intervals["accuracy"]
    assert low < right / 13 < high
    assert set(found.values) == set(found.intervals) == {"accuracy", "f1"}
    assert classifier.handle.settings == {"tokens": 1.0}


def test_a_classifier_needs_labels(classifier):
    with pytest.raises(MeasurementError, match="labelled rows"):
        classification_quality(classifier, Split(["w1"]))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_plain_continuations_are_those_of_one_long_forward(language_model, book, batch_size):
    ids = windows(language_model, book.split("validation"), 30, 5)
    found = continuations(language_model, ids, 22, batch_size=batch_size)
    with torch.no_grad():
        logits = language_model.model(ids).logits[:, 21:-1]
    losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), ids[:, 22:], reduction="none")
    assert found.losses == pytest.approx(losses.mean(1).tolist(), rel=1e-5)
    assert torch.equal(found.guesses, logits.argmax(-1))


def test_a_pruned_prompt_is_continued_token_by_token_alike(language_model, book):
    ids = windows(language_model, book.split("validation"), 30, 2)
    found = continuations(language_model, ids, 22, {"tokens": 0.5})
    losses = []
    for row in ids:
        with torch.no_grad(), language_model.handle.at(tokens=0.5):
            out = language_model.model(row[None, :22], use_cache=True)
        total = []
        for column in range(22, 30):
            total.append(torch.nn.functional.cross_entropy(out.logits[:, -1], row[column][None]).item())
            with torch.no_grad():
                out = language_model.model(row[column][None, None], past_key_values=out.past_key_values)
        losses.append(sum(total) / len(total))
    assert found.losses == pytest.approx(losses, rel=1e-4)
    assert found.losses != pytest.approx(continuations(language_model, ids, 22).losses, rel=1e-4)


def test_a_continuation_of_one_token_needs_no_second_forward(language_model, book):
    ids = windows(language_model, book.split("validation"), 23, 2)
    assert continuations(language_model, ids, 22).guesses.shape == (2, 1)


def test_perplexity_and_agreement(language_model, book):
    ids = windows(language_model, book.split("validation"), 30, 6)
    plain = continuations(language_model, ids, 22)
    found = language_quality(plain, plain)
    assert found.values["agreement"] == 1.0
    assert found.intervals["agreement"] == (1.0, 1.0)
    assert found.values["perplexity"] == pytest.approx(math.exp(sum(plain.losses) / 6))
    low, high = found.intervals["perplexity"]
    assert low < found.values["perplexity"] < high
    half = replace(plain, guesses=torch.cat([plain.guesses[:, :4], plain.guesses[:, 4:] + 1], dim=1))
    assert language_quality(half, plain).values["agreement"] == 0.5


@pytest.mark.parametrize("prompt", [0, 30])
def test_prompt_and_continuation_are_needed(language_model, book, prompt):
    ids = windows(language_model, book.split("validation"), 30, 2)
    with pytest.raises(MeasurementError, match="a prompt and what follows"):
        continuations(language_model, ids, prompt)
