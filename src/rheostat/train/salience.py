"""What each token says about the labels: a linear model over the vocabulary, learnt in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from rheostat.core.errors import SettingError
from rheostat.core.extras import require
from rheostat.models.salience import set_salience

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from rheostat.models.sources import LoadedModel
    from rheostat.techniques import Technique

__all__ = ["give_salience", "learn_salience"]


def give_salience(loaded: LoadedModel, technique: Technique, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Put on a model the table of salience that a technique needs, learnt from train rows, and take others off.

    Returns:
        A sentence for the model card; None where the technique needs no table.

    Raises:
        SettingError: If the rows have no labels.
    """
    set_salience(loaded.model, None)
    if not getattr(technique, "entry", 0.0):
        return None
    if "label" not in rows[0]:
        raise SettingError(
            "A cut before the first block goes by what tokens say about labels.",
            given="a language model's rows",
            mend="Leave entry out.",
        )
    vocabulary = loaded.model.config.get_text_config().vocab_size
    set_salience(loaded.model, learn_salience(rows, loaded.tokenizer, vocabulary))
    return f"What each token id says about the labels was learnt from {len(rows)} train rows."


def learn_salience(
    rows: Sequence[Mapping[str, Any]], tokenizer: PreTrainedTokenizerBase, vocabulary: int
) -> torch.Tensor:
    """Return what each token id says about the labels, for `rheostat.models.salience.set_salience`.

    The largest absolute weight, over the classes, of a logistic regression on TF-IDF of token ids, each counted once a
    row, times the id's inverse document frequency. A measure of ours; it plays the part of the learnt predictor before
    the first block in Transkimmer (https://arxiv.org/abs/2205.07324), at the price of a linear model.

    Args:
        rows: Train rows, with ``input_ids`` and ``label``; at least two labels.
        tokenizer: Tells the special tokens, which are always read; but for the one for unknown words, which is a word
            like others.
        vocabulary: Token ids of the model.

    Returns:
        Float32 ``[vocabulary]``: between 0 and 1, or infinite.
    """
    linear: Any = require("sklearn.linear_model", extra="train")
    features: Any = require("sklearn.feature_extraction.text", extra="train")
    counter = features.CountVectorizer(analyzer=lambda row: row["input_ids"], binary=True)
    weighting = features.TfidfTransformer()
    inputs = weighting.fit_transform(counter.fit_transform(rows))
    model = linear.LogisticRegression(max_iter=1000).fit(inputs, [row["label"] for row in rows])
    says = torch.from_numpy(abs(model.coef_).max(axis=0) * weighting.idf_).float()
    table = torch.zeros(vocabulary)
    table[torch.from_numpy(counter.get_feature_names_out().astype("int64"))] = says / says.max().clamp(min=1e-30)
    always = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    table[[one for one in sorted(always) if one < vocabulary]] = torch.inf
    return table
