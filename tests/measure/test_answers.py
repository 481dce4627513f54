import json
import math
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from rheostat.core.errors import MeasurementError, SettingError
from rheostat.core.text import Split
from rheostat.measure.answers import Answers, answers_of_classifier, answers_of_language_model
from rheostat.measure.continuing import Subject, is_neutral
from rheostat.measure.encoding import windows
from tests.measure.conftest import make_classifier, make_language_model, make_split, make_tokenizer


@pytest.mark.parametrize("tokens", [1.0, 0.4])
def test_a_classifier_answers_row_by_row(classifier, tokens):
    split = make_split(9, 5)
    found = answers_of_classifier(classifier, split, {"tokens": tokens}, batch_size=4)
    for row, text in enumerate(split.texts):
        with torch.no_grad(), classifier.handle.at(tokens=tokens):
            shares = classifier.model(**classifier.tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)
        assert found.guesses[row] == (int(shares.argmax()),)
        assert found.confidences[row] == pytest.approx(float(shares.max()), abs=1e-5)
    assert found.losses == ()
    assert classifier.handle.settings == {"tokens": 1.0}


def test_answers_survive_json_to_the_bit(classifier, language_model, book):
    one = answers_of_classifier(classifier, make_split(5, 1))
    other = answers_of_language_model(language_model, windows(language_model, book.split("validation"), 12, 3), 8)
    for answers in (one, other):
        assert Answers.from_json(json.loads(json.dumps(answers.to_json(), allow_nan=False))) == answers
    assert [len(row) for row in other.guesses] == [4, 4, 4]
    assert len(json.dumps(one.to_json())) < 5 * 40


@pytest.mark.parametrize("damage", [{"guesses": [1]}, {"losses": None}, {"confidences": ["x"]}])
def test_damaged_answers_are_refused(damage):
    with pytest.raises(MeasurementError, match="hold guesses, confidences and losses"):
        Answers.from_json({"guesses": [[1]], "confidences": [0.5], "losses": [], **damage})


def test_columns_have_an_entry_a_row():
    with pytest.raises(MeasurementError, match="Given: 0 guesses"):
        Answers(())
    with pytest.raises(MeasurementError, match="Given: 2 guesses, 1 confidences, 0 losses"):
        Answers(((1,), (2,)), (0.5,))


def test_answers_that_are_no_numbers_are_refused(classifier):
    with pytest.raises(MeasurementError, match="Given: 1 of 2 rows without. Use a precision with a wider range"):
        Answers(((1,), (2,)), losses=(0.5, math.inf))
    with torch.no_grad():
        classifier.model.classifier.bias.fill_(math.nan)
    with pytest.raises(MeasurementError, match="3 of 3 rows without"):
        answers_of_classifier(classifier, make_split(3, 5))


def test_a_model_without_a_handle_answers_and_has_no_dials(book):
    split = make_split(5, 3)
    bare = Subject(make_classifier(), make_tokenizer("classification"), max_length=48)
    assert len(answers_of_classifier(bare, split)) == 5
    assert is_neutral(bare)
    with pytest.raises(SettingError, match="names one of the dials. Given: 'tokens'"):
        answers_of_classifier(bare, split, {"tokens": 0.5})
    writer = Subject(make_language_model(), make_tokenizer("causal-lm"))
    ids = windows(writer, book.split("validation"), 12, 2)
    assert len(answers_of_language_model(writer, ids, 8)) == 2


def test_a_handle_without_dials_is_neutral(classifier):
    split = make_split(5, 3)
    expected = answers_of_classifier(classifier, split)
    still = SimpleNamespace(dials=(), settings={}, at=lambda **_: nullcontext())
    subject = Subject(classifier.model, classifier.tokenizer, still, classifier.max_length)
    assert answers_of_classifier(subject, split, {}) == expected
    assert is_neutral(subject)


def test_low_precision_is_judged_in_full(language_model, book):
    ids = windows(language_model, book.split("validation"), 30, 4)
    full = answers_of_language_model(language_model, ids, 22, {"tokens": 0.5})
    language_model.model.to(torch.bfloat16)
    low = answers_of_language_model(language_model, ids, 22, {"tokens": 0.5})
    assert low.losses == pytest.approx(full.losses, rel=0.1)
    # bfloat16 has 8 bits: losses that were computed in it would all be multiples of 2 ** -6 here.
    assert any((loss * 2**6) % 1 for loss in low.losses)


def test_a_classifier_in_low_precision_is_judged_in_full(classifier):
    classifier.model.to(torch.bfloat16)
    found = answers_of_classifier(classifier, make_split(12, 5), {"tokens": 0.5})
    assert any((share * 2**9) % 1 for share in found.confidences)


def test_neutral_is_what_is_in_force(language_model):
    assert is_neutral(language_model)
    assert not is_neutral(language_model, {"tokens": 0.5})
    language_model.handle.set(tokens=0.5)
    assert not is_neutral(language_model)
    assert is_neutral(language_model, {"tokens": 1.0})
    with pytest.raises(SettingError, match="lies in"):
        is_neutral(language_model, {"tokens": 2.0})


def test_a_classifier_without_texts_has_no_answers(classifier):
    with pytest.raises(MeasurementError, match="Given: 0 rows"):
        answers_of_classifier(classifier, Split([]))
