import math
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from rheostat.core.errors import MeasurementError
from rheostat.core.text import Split
from rheostat.measure.answers import Answers
from rheostat.measure.encoding import windows
from rheostat.measure.intervals import wilson_interval
from rheostat.measure.quality import (
    agreement,
    calibration_error,
    classification_metrics,
    classification_quality,
    continuations,
    language_metrics,
    language_quality,
    macro_f1,
    quality_difference,
)
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


def answered(guesses, confidences=None):
    return Answers(tuple((guess,) for guess in guesses), tuple(confidences or [0.9] * len(guesses)))


def judged(losses, guesses=None):
    return Answers(tuple(guesses or [(1, 2)] * len(losses)), losses=tuple(losses))


def test_calibration_error_by_hand():
    # Two bins: 0.5 and 0.55 share (7/15, 8/15] not at all, 0.9 lies alone in (13/15, 14/15].
    rows = [(0.5, True), (0.5, False), (0.55, False), (0.9, True), (0.9, True)]
    expected = (2 * abs(0.5 - 0.5) + 0.55 + 2 * abs(0.9 - 1.0)) / 5
    assert calibration_error(rows) == pytest.approx(expected)
    # The upper edge belongs to a bin, the lower one to the bin before: 1/3 = 5/15.
    assert calibration_error([(1 / 3, True), (5.01 / 15, False)]) == pytest.approx((2 / 3 + 5.01 / 15) / 2)
    assert calibration_error([(1.0, True), (0.0, False)]) == 0.0


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_calibration_error_lies_between_the_overall_gap_and_the_mean_distance(rows):
    gap = abs(math.fsum(confidence - right for confidence, right in rows)) / len(rows)
    distance = math.fsum(abs(confidence - right) for confidence, right in rows) / len(rows)
    assert gap - 1e-9 <= calibration_error(rows) <= distance + 1e-9


def test_the_interval_of_calibration_error_holds_the_truth_where_a_plain_bootstrap_does_not():
    generator, held = random.Random(0), 0
    for _ in range(40):
        confidences = [0.5 + 0.5 * generator.random() ** 0.3 for _ in range(200)]
        right = [generator.random() < confidence - 0.03 for confidence in confidences]
        answers = answered([int(one) for one in right], confidences)
        found = classification_metrics(answers, [1] * 200)["calibration_error"]
        assert found.low <= found.value <= found.high
        held += found.low <= 0.03 <= found.high
    assert held >= 30


def test_classification_metrics_say_how_sure_they_are():
    labels = [0, 1] * 30
    guesses = [label if row % 5 else 1 - label for row, label in enumerate(labels)]
    found = classification_metrics(answered(guesses), labels)
    assert set(found) == {"accuracy", "f1", "calibration_error"}
    assert found["accuracy"].value == 0.8
    assert (found["accuracy"].low, found["accuracy"].high) == wilson_interval(48, 60)
    assert found["calibration_error"].value == pytest.approx(0.1)
    assert all(one.low <= one.value <= one.high and one.source == "60 texts" for one in found.values())
    assert {one.unit for one in found.values()} == {"1"}
    with pytest.raises(MeasurementError, match="a label for each. Given: 60 answers, 60 confidences, 59 labels"):
        classification_metrics(answered(guesses), labels[:-1])
    with pytest.raises(MeasurementError, match="1 answers, 0 confidences"):
        classification_metrics(judged([0.5]), [1])


def test_agreement_is_counted_over_rows_or_positions():
    found = agreement(answered([0, 1, 1, 0]), answered([0, 1, 1, 1]))
    assert (found.value, found.low, found.high) == (0.75, *wilson_interval(3, 4))
    one, other = (judged([0.1, 0.1], guesses) for guesses in ([(1, 2, 3, 4), (5, 6)], [(1, 2, 3, 9), (5, 7)]))
    assert agreement(one, other).value == pytest.approx((0.75 + 0.5) / 2)
    with pytest.raises(MeasurementError, match="on the same rows. Given: 2 and 1 rows"):
        agreement(one, judged([0.1]))
    with pytest.raises(MeasurementError, match="on the same rows"):
        agreement(answered([0]), judged([0.1], [(0,)]))


def test_perplexity_is_that_of_the_mean_loss():
    found = language_metrics(judged([1.0, 2.0, 3.0]))["perplexity"]
    assert found.value == pytest.approx(math.exp(2.0))
    assert (found.low, found.high) == pytest.approx((math.exp(1.0), math.exp(3.0)))
    assert found.source == "3 windows"
    assert language_metrics(judged([1000.0]))["perplexity"].value == math.exp(100)
    with pytest.raises(MeasurementError, match="language model's answers"):
        language_metrics(answered([1]))


def test_a_paired_difference_is_narrower_than_two_intervals():
    labels = [0] * 200
    a = answered([0] * 150 + [1] * 50)
    b = answered([0] * 146 + [1] * 54)
    difference, low, high = quality_difference(a, b, labels)
    assert difference == pytest.approx(0.02)
    assert -0.005 <= low <= difference <= high < 0.05
    one, other = (classification_metrics(answers, labels)["accuracy"] for answers in (a, b))
    assert high - low < (one.high - one.low) / 2
    assert quality_difference(b, a, labels)[0] == -difference
    assert other.value < one.value


def test_rows_are_resampled_together():
    """The same two accuracies, but wrong on other rows: nothing is known to differ less."""
    labels = [0] * 200
    a = answered([0] * 150 + [1] * 50)
    apart = answered([1] * 54 + [0] * 146)
    difference, low, high = quality_difference(a, apart, labels)
    assert difference == pytest.approx(0.02)
    assert high - low > 0.15


def test_no_difference_seen_is_no_certainty():
    answers = answered([0, 1] * 50)
    difference, low, high = quality_difference(answers, answers, [0, 1] * 50)
    assert difference == 0.0
    assert high == -low == pytest.approx(0.0362, abs=1e-4)


def test_a_difference_of_perplexities_is_paired():
    generator = random.Random(0)
    plain = [generator.uniform(1, 4) for _ in range(50)]
    a, b = judged([loss + 0.1 for loss in plain]), judged(plain)
    difference, low, high = quality_difference(a, b)
    expected = [language_metrics(answers)["perplexity"].value for answers in (a, b)]
    assert difference == pytest.approx(expected[0] - expected[1])
    assert 0.0 < low < difference < high
    assert quality_difference(a, a) == (0.0, 0.0, 0.0)
    with pytest.raises(MeasurementError, match="give the labels"):
        quality_difference(answered([1]), answered([1]))
