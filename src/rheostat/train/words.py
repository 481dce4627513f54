"""What a text's words say about its label by themselves: a linear model over the vocabulary, learnt in seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch

from rheostat.core.extras import require
from rheostat.models.words import set_words

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["give_words", "learn_words", "teach_words", "tfidf_of"]

_C: Final = 10.0
"""Inverse strength of the L2 penalty. From 1 to 30 it made little difference beside a model (docs/decisions)."""
_MOST_ROWS: Final = 50_000
_FLATTEST: Final = 0.01
_STEEPEST: Final = 10.0
"""Within these the temperature's inverse is looked for: rows that can be told without a fault would have none."""


def give_words(model: PreTrainedModel, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Put on a model the table that train rows make, in place of an earlier one; none where they have no labels.

    Returns:
        A sentence for the model card; None where there is nothing to learn.
    """
    set_words(model, None)
    if len({row.get("label") for row in rows}) < 2:
        return None
    teach_words(model, rows)
    return f"What words say about the labels by themselves, for the dial words, was learnt from {len(rows)} train rows."


def teach_words(model: PreTrainedModel, rows: Sequence[Mapping[str, Any]]) -> None:
    """Put on a model the table that `learn_words` makes of train rows."""
    config: Any = model.config
    set_words(model, learn_words(rows, config.get_text_config().vocab_size, config.num_labels))


def learn_words(rows: Sequence[Mapping[str, Any]], vocabulary: int, classes: int) -> torch.Tensor:
    """Return what each token id says about the label, for `rheostat.models.words.set_words`.

    Logistic regression on TF-IDF of token ids, each counted once a row. Its logits are scaled to be probabilities that
    hold, by the temperature of least log loss on every third row of each class, with a model of the others: what is
    learnt from rows says too little about others, or too much.

    Source: temperature scaling, https://arxiv.org/abs/1706.04599.

    Args:
        rows: Train rows, with ``input_ids`` and ``label``; at least two labels. Of more than 50,000, every second, or
            third and so on, of each class is learnt from.
        vocabulary: Token ids of the model.
        classes: Classes of the model; one that no row has is as likely as one row in as many and one more.

    Returns:
        Float32 ``[vocabulary + 1, classes + 1]``.
    """
    every = sorted(range(len(rows)), key=lambda at: rows[at]["label"])[:: -(-len(rows) // _MOST_ROWS)]
    rows = [rows[at] for at in sorted(every)]
    inputs, ids, idf = tfidf_of(rows)
    labels = torch.tensor([row["label"] for row in rows])
    weights, bias = _fitted(inputs, labels, classes)
    scale = _scale(inputs, labels, classes)
    table = torch.zeros(vocabulary + 1, classes + 1, dtype=torch.float64)
    table[ids, :-1] = scale * weights.T * idf[:, None]
    table[ids, -1] = idf**2
    table[-1, :-1] = scale * bias
    table[-1, :-1][torch.bincount(labels, minlength=classes) == 0] -= torch.tensor(len(rows) + 1.0).log()
    return table.float()


def tfidf_of(rows: Sequence[Mapping[str, Any]]) -> tuple[Any, torch.Tensor, torch.Tensor]:
    """Return rows as sparse vectors of TF-IDF, each token id counted once a row; which ids, and their frequencies.

    Args:
        rows: With ``input_ids``.

    Returns:
        A SciPy matrix ``[rows, features]``, rows of length 1; the token id of each feature, int64; and its inverse
        document frequency, float64.
    """
    features: Any = require("sklearn.feature_extraction.text", extra="train")
    counter = features.CountVectorizer(analyzer=lambda row: row["input_ids"], binary=True)
    weighting = features.TfidfTransformer()
    inputs = weighting.fit_transform(counter.fit_transform(rows))
    ids = torch.from_numpy(counter.get_feature_names_out().astype("int64"))
    return inputs, ids, torch.from_numpy(weighting.idf_)


def _fitted(inputs: Any, labels: torch.Tensor, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weights ``[classes, features]`` and bias of a logistic regression; zeros for a class without rows."""
    linear: Any = require("sklearn.linear_model", extra="train")
    model = linear.LogisticRegression(C=_C, max_iter=1000).fit(inputs, labels.numpy())
    weights, bias = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    if len(model.classes_) == 2:
        # Of two classes it holds the difference alone.
        weights, bias = torch.cat([-weights, weights]) / 2, torch.cat([-bias, bias]) / 2
    known = torch.from_numpy(model.classes_)
    return (
        torch.zeros(classes, weights.shape[1], dtype=torch.float64).index_copy(0, known, weights),
        torch.zeros(classes, dtype=torch.float64).index_copy(0, known, bias),
    )


def _scale(inputs: Any, labels: torch.Tensor, classes: int) -> float:
    """Return by what logits have to be multiplied to be probabilities that hold; 1 where there are too few rows."""
    optimize: Any = require("scipy.optimize", extra="train")
    every_third = torch.zeros(len(labels), dtype=torch.bool)
    every_third[labels.argsort(stable=True)[::3]] = True
    learnt, held = (~every_third).nonzero()[:, 0], every_third.nonzero()[:, 0]
    # Nothing can be said of a class that was not learnt.
    held = held[torch.isin(labels[held], labels[learnt])]
    if len(labels[learnt].unique()) < 2 or not len(held):
        return 1.0
    weights, bias = _fitted(inputs[learnt.numpy()], labels[learnt], classes)
    logits, truth = torch.from_numpy(inputs[held.numpy()] @ weights.T.numpy()) + bias, labels[held]

    def loss(logarithm: float) -> float:
        return float(torch.nn.functional.cross_entropy(logits * math.exp(logarithm), truth))

    found = optimize.minimize_scalar(loss, bounds=(math.log(_FLATTEST), math.log(_STEEPEST)), method="bounded")
    return math.exp(found.x)
