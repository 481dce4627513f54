"""How good a model is at a setting of its dials, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch

from rheostat.core.errors import MeasurementError
from rheostat.core.metrics import Metric
from rheostat.core.text import Split
from rheostat.measure.answers import Answers, answers_of_classifier, answers_of_language_model
from rheostat.measure.intervals import bootstrap_interval, wilson_interval

__all__ = [
    "Continuations",
    "Quality",
    "agreement",
    "calibration_error",
    "classification_metrics",
    "classification_quality",
    "continuations",
    "language_metrics",
    "language_quality",
    "macro_f1",
    "quality_difference",
]

_BINS: Final = 15


@dataclass(frozen=True, slots=True)
class Quality:
    """Metrics of one setting.

    Attributes:
        values: Metric name to value.
        intervals: Metric name to its 95 % interval.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Continuations:
    """What a language model made of the same continuations.

    Attributes:
        losses: Mean negative log-likelihood of a token, in nats, for each window.
        guesses: The likeliest token at each position, int64 ``[windows, continuation]``, on the CPU.
    """

    losses: tuple[float, ...]
    guesses: torch.Tensor


def classification_metrics(answers: Answers, labels: Sequence[int]) -> dict[str, Metric]:
    """Judge a classifier's answers.

    Args:
        answers: Of the classifier.
        labels: The true class of each row.

    Returns:
        ``accuracy`` with its Wilson interval; ``f1``, the mean over classes, with a bootstrap interval over rows;
        ``calibration_error`` with a reverse percentile one, since resampling moves it up.

    Raises:
        MeasurementError: If there is not one label for each answer, or the answers are a language model's.
    """
    outcomes = _outcomes(answers, labels)
    return {
        "accuracy": _accuracy(outcomes),
        "f1": _f1(outcomes),
        "calibration_error": _calibration(answers.confidences, [truth == guess for truth, guess in outcomes]),
    }


def language_metrics(answers: Answers) -> dict[str, Metric]:
    """Judge a language model's answers: ``perplexity``, at least 1, with a bootstrap interval over windows.

    Raises:
        MeasurementError: If the answers are a classifier's.
    """
    losses = _losses(answers)
    interval = bootstrap_interval(losses, _perplexity)
    return {"perplexity": Metric(_perplexity(losses), "1", *interval, source=f"{len(answers)} windows")}


def agreement(answers: Answers, plain: Answers) -> Metric:
    """Say how often answers are the plain model's.

    Args:
        answers: At a configuration.
        plain: Of the plain model, on the same rows.

    Returns:
        The share of guesses that are the same, in [0, 1]. For one guess a row its interval is Wilson's; for several, a
        language model's, a bootstrap over rows.

    Raises:
        MeasurementError: If they are not on the same rows.
    """
    _check_alike(answers, plain)
    same = [[a == b for a, b in zip(*row, strict=True)] for row in zip(answers.guesses, plain.guesses, strict=True)]
    if answers.confidences:
        return _share(sum(row[0] for row in same), len(same))
    shares = [sum(row) / len(row) for row in same]
    return Metric(_mean(shares), "1", *bootstrap_interval(shares, _mean), source=f"{len(same)} windows")


def quality_difference(a: Answers, b: Answers, labels: Sequence[int] | None = None) -> tuple[float, float, float]:
    """Say how much better a is than b on the same rows, by a paired bootstrap: rows are resampled together.

    A row's difficulty counts for both, so that this interval is narrower than the two intervals of a and b suggest.

    Args:
        a: Answers.
        b: Answers to the same rows.
        labels: The true class of each row, for classifiers; None for language models.

    Returns:
        The difference a - b in accuracy (for language models in perplexity, where less is better), and the two ends of
        its 95 % interval. Where two classifiers are right on the very same rows, a bootstrap would claim certainty: the
        ends are then the largest true difference that leaves no trace in so many rows once in 40 times (the exact
        binomial bound).

    Raises:
        MeasurementError: If they are not on the same rows.

    Example:
        >>> one, other = Answers(((1,), (0,)), (0.9, 0.6)), Answers(((1,), (1,)), (0.9, 0.6))
        >>> quality_difference(one, other, labels=[1, 0])
        (0.5, 0.0, 1.0)
    """
    _check_alike(a, b)
    if labels is None:
        pairs = list(zip(_losses(a), _losses(b), strict=True))
        return (_perplexity_gap(pairs), *bootstrap_interval(pairs, _perplexity_gap))
    rights = [[truth == guess for truth, guess in _outcomes(answers, labels)] for answers in (a, b)]
    gains = [float(one) - float(other) for one, other in zip(*rights, strict=True)]
    if not any(gains):
        unseen: float = 1.0 - 0.025 ** (1.0 / len(gains))
        return 0.0, -unseen, unseen
    return (_mean(gains), *bootstrap_interval(gains, _mean))


def macro_f1(outcomes: Sequence[tuple[int, int]]) -> float:
    """Return the mean F1 over the classes that occur as truth or guess, from ``(truth, guess)`` pairs.

    Example:
        >>> macro_f1([(0, 0), (0, 1), (1, 1)])
        0.6666666666666666
    """
    classes = {label for outcome in outcomes for label in outcome}
    right, truths, guesses = (dict.fromkeys(classes, 0) for _ in range(3))
    for truth, guess in outcomes:
        truths[truth] += 1
        guesses[guess] += 1
        right[truth] += truth == guess
    return math.fsum(2 * right[label] / (truths[label] + guesses[label]) for label in classes) / len(classes)


def calibration_error(rows: Sequence[tuple[float, bool]]) -> float:
    """Return how far confidence is from accuracy, from ``(confidence, right)`` pairs; at least one.

    The expected calibration error of Guo et al. (2017, https://arxiv.org/abs/1706.04599): confidences fall into 15
    bins of equal width, (0, 1/15] to (14/15, 1], and the distances of a bin's mean confidence to its accuracy are
    averaged, weighted by rows. It is 0 for a model that is right as often as it says, and, as the mean of distances,
    tends to come out too high where rows are few.

    Example:
        >>> calibration_error([(0.75, True), (0.75, True), (0.75, True), (0.75, False)])
        0.0
    """
    gaps = [0.0] * _BINS
    for confidence, right in rows:
        gaps[min(max(math.ceil(confidence * _BINS) - 1, 0), _BINS - 1)] += confidence - right
    return math.fsum(abs(gap) for gap in gaps) / len(rows)


def classification_quality(
    bundle: Any, split: Split, settings: Mapping[str, float] | None = None, *, batch_size: int = 16
) -> Quality:
    """Measure accuracy and macro F1 of a classifier, for a profile.

    Args:
        bundle: Its ``model``, ``tokenizer``, ``handle`` and ``max_length`` are used.
        split: Texts with labels that index the model's outputs.
        settings: Dials to turn; those left out stay as they are.
        batch_size: Rows of a batch.

    Returns:
        ``accuracy`` with its Wilson interval and ``f1``, the mean over classes, with a bootstrap interval
        over rows.

    Raises:
        MeasurementError: If the split is empty or has no labels.
    """
    if not split.labels:
        raise MeasurementError("Measuring a classifier needs labelled rows.", given=f"{len(split)} rows")
    outcomes = _outcomes(answers_of_classifier(bundle, split, settings, batch_size=batch_size), split.labels)
    return _quality({"accuracy": _accuracy(outcomes), "f1": _f1(outcomes)})


def continuations(
    bundle: Any,
    windows: torch.Tensor,
    prompt: int,
    settings: Mapping[str, float] | None = None,
    *,
    batch_size: int = 4,
) -> Continuations:
    """Do what `rheostat.measure.answers.answers_of_language_model` does, for `language_quality`."""
    answers = answers_of_language_model(bundle, windows, prompt, settings, batch_size=batch_size)
    return Continuations(answers.losses, torch.tensor(answers.guesses))


def language_quality(found: Continuations, plain: Continuations) -> Quality:
    """Return the perplexity of the continuations, and how often the likeliest token is the plain model's.

    Args:
        found: At the setting.
        plain: Of the plain model, on the same windows.

    Returns:
        ``perplexity``, at least 1, and ``agreement`` in [0, 1], with bootstrap intervals over windows.
    """
    one, other = (
        Answers(tuple(tuple(row) for row in side.guesses.tolist()), losses=side.losses) for side in (found, plain)
    )
    return _quality({**language_metrics(one), "agreement": agreement(one, other)})


def _accuracy(outcomes: Sequence[tuple[int, int]]) -> Metric:
    return _share(sum(truth == guess for truth, guess in outcomes), len(outcomes))


def _f1(outcomes: Sequence[tuple[int, int]]) -> Metric:
    interval = bootstrap_interval(outcomes, macro_f1, draws=200)
    return Metric(macro_f1(outcomes), "1", *interval, source=_texts(len(outcomes)))


def _calibration(confidences: Sequence[float], right: Sequence[bool]) -> Metric:
    """Return the calibration error with its reverse percentile interval.

    A resample is as much further off than the sample as the sample is further off than the truth. For a model that is
    right as often as it says, the percentile interval held the truth in none of 150 simulated samples of 400 rows, the
    reverse one in 100; for one that is 0.03 too sure, in 90 and 132.
    """
    rows = list(zip(confidences, right, strict=True))
    value = calibration_error(rows)
    low, high = bootstrap_interval(rows, calibration_error, draws=200)
    reverse = max(0.0, min(value, 2 * value - high)), max(value, 2 * value - low)
    return Metric(value, "1", *reverse, source=_texts(len(rows)))


def _share(successes: int, trials: int) -> Metric:
    return Metric(successes / trials, "1", *wilson_interval(successes, trials), source=_texts(trials))


def _texts(count: int) -> str:
    return f"{count} text{'' if count == 1 else 's'}"


def _quality(metrics: Mapping[str, Metric]) -> Quality:
    values = {name: metric.value for name, metric in metrics.items() if metric.value is not None}
    ends = {name: (metric.low, metric.high) for name, metric in metrics.items()}
    return Quality(
        values, {name: (low, high) for name, (low, high) in ends.items() if low is not None and high is not None}
    )


def _outcomes(answers: Answers, labels: Sequence[int]) -> list[tuple[int, int]]:
    """Return ``(truth, guess)`` pairs."""
    if not answers.confidences or len(labels) != len(answers):
        raise MeasurementError(
            "Judging a classifier takes its answers, and a label for each.",
            given=f"{len(answers)} answers, {len(answers.confidences)} confidences, {len(labels)} labels",
        )
    return [(label, guesses[0]) for label, guesses in zip(labels, answers.guesses, strict=True)]


def _losses(answers: Answers) -> tuple[float, ...]:
    if not answers.losses:
        raise MeasurementError(
            "Perplexity is judged on a language model's answers.",
            given="answers without losses",
            mend="For a classifier's answers give the labels.",
        )
    return answers.losses


def _check_alike(a: Answers, b: Answers) -> None:
    shapes = [[len(row) for row in answers.guesses] for answers in (a, b)]
    if shapes[0] != shapes[1] or bool(a.confidences) != bool(b.confidences):
        raise MeasurementError(
            "Two models' answers are compared on the same rows.",
            given=f"{len(a)} and {len(b)} rows, or other questions",
        )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _perplexity(losses: Sequence[float]) -> float:
    # A hopeless model's loss would overflow; no table needs more digits than this.
    return math.exp(min(_mean(losses), 100.0))


def _perplexity_gap(pairs: Sequence[tuple[float, float]]) -> float:
    one, other = ([pair[side] for pair in pairs] for side in (0, 1))
    return _perplexity(one) - _perplexity(other)
