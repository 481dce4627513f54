"""What a task costs nothing to do: the baselines that every quality table shows beside the transformer.

With thousands of labels a linear model can beat a small transformer at a hundredth of its time. Whoever
chooses a model has to see that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from rheostat.core.errors import DataError
from rheostat.core.extras import require
from rheostat.core.text import Split, TextData

__all__ = ["baselines"]

# Weak regularisation, the same for every task. On validation splits, 1 -> 100 moved 200 mails from 0.77 to
# 0.92, 1,600 film reviews from 0.83 to 0.86, 2,000 sentences from 0.74 to 0.75, and 5,683 pairs of passages
# from 0.76 to 0.73.
_REGULARISATION = 100.0


def baselines(data: TextData, on: str = "test") -> dict[str, dict[str, float]]:
    """Measure the majority class and a linear model, both learnt from the train split alone.

    The linear model is logistic regression on TF-IDF of words and word pairs with sublinear counts. For pairs
    of texts it sees both texts and the cosine between them. Its settings are the same for every task.

    Args:
        data: Classification data with a train split.
        on: The split to measure on.

    Returns:
        ``{"majority": {"accuracy": share}, "linear": {"accuracy": share}}``, each share in [0, 1].

    Raises:
        DataError: If the data is not for classification.
        SettingError: If it has no train split, or none called ``on``.
        RheostatError: If scikit-learn is not installed.
    """
    if data.task != "classification":
        raise DataError("Baselines need classes to predict.", given=f"data for {data.task}")
    train, judged = data.split("train"), data.split(on)
    truth = _labels(judged)
    guesses = {"majority": [_majority(_labels(train))] * len(judged), "linear": _linear(train, judged)}
    return {name: {"accuracy": _accuracy(guess, truth)} for name, guess in guesses.items()}


def _labels(split: Split) -> list[int]:
    return split.labels or []


def _majority(labels: Sequence[int]) -> int:
    """Return the most frequent label; of equals the lowest."""
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], label))


def _accuracy(guesses: Sequence[int], truth: Sequence[int]) -> float:
    return sum(guess == true for guess, true in zip(guesses, truth, strict=True)) / len(truth)


def _linear(train: Split, judged: Split) -> list[int]:
    text = require("sklearn.feature_extraction.text", extra="train")
    linear_model = require("sklearn.linear_model", extra="train")
    multiclass = require("sklearn.multiclass", extra="train")
    # Punctuation counts as words, so that no text in any language leaves the vocabulary empty.
    words = r"(?u)\w+|[^\w\s]"
    vectorizer = text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=words)
    vectorizer.fit(train.texts + (train.pairs or []))
    seen, asked = _features(train, judged, vectorizer)
    # The dual solver is many times faster than the default one where features outnumber rows a hundredfold.
    model = multiclass.OneVsRestClassifier(
        linear_model.LogisticRegression(C=_REGULARISATION, solver="liblinear", max_iter=1000, random_state=0)
    )
    model.fit(seen, _labels(train))
    return [int(label) for label in model.predict(asked)]


def _features(train: Split, judged: Split, vectorizer: Any) -> tuple[Any, Any]:
    """Return sparse matrices [rows, vocabulary] of both splits, for pairs [rows, 2 * vocabulary + 1]."""
    if train.pairs is None or judged.pairs is None:
        return vectorizer.transform(train.texts), vectorizer.transform(judged.texts)
    numpy, sparse = require("numpy", extra="train"), require("scipy.sparse", extra="train")
    # One cosine is small beside a vocabulary of weights: at its own scale it would be regularised away.
    scaler = require("sklearn.preprocessing", extra="train").StandardScaler()
    sides = [[vectorizer.transform(column) for column in (split.texts, split.pairs)] for split in (train, judged)]
    # TF-IDF rows have length 1, so that their product is their cosine.
    cosines = [numpy.asarray(first.multiply(second).sum(axis=1)).reshape(-1, 1) for first, second in sides]
    scaled = [scaler.fit_transform(cosines[0]), scaler.transform(cosines[1])]
    seen, asked = (
        sparse.hstack([*side, sparse.csr_matrix(cosine)], format="csr")
        for side, cosine in zip(sides, scaled, strict=True)
    )
    return seen, asked
