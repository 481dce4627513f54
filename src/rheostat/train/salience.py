"""Who enters the first block: by place, or by what tokens say about the labels, which a linear model learns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from rheostat.core.errors import SettingError
from rheostat.core.extras import require
from rheostat.core.text import Split, TextData
from rheostat.models.families import locate
from rheostat.models.salience import set_salience
from rheostat.techniques import TokenPruning
from rheostat.train.words import tfidf_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from rheostat.models.sources import LoadedModel
    from rheostat.train.settings import FinetuneSettings

__all__ = ["early_dial", "give_salience", "learn_salience", "teach_salience", "with_technique", "words_tell"]

_ENOUGH: Final = 0.4
"""Of what the majority class gets wrong, single words have to tell that share for an entry to be chosen."""
_MOST_ROWS: Final = 6000
_IN_BLOCKS: Final = 1.2
"""The part of the cut that an encoder's blocks make, in blocks of the paper's: 0.2 in each of 6."""


def early_dial(model: nn.Module, data: TextData) -> TokenPruning:
    """Return the token dial that cuts before the first block, where something tells who need not be read at all.

    Of what a language model continues, that is the stretch between its ends. For classification, single words have to
    tell enough of the labels.

    An encoder's blocks cut together what 1.2 blocks cut in the paper, however many they are; a decoder's, where one
    token has to hear of all others, cut nothing. Where words do not tell enough, as in pairs of texts, who enters
    cannot be told by a table of words: then the dial is the paper's.
    """
    if data.task == "causal-lm":
        return TokenPruning(entry=1.0, entry_scorer="ends")
    if words_tell(data.split("train")) < _ENOUGH:
        return TokenPruning()
    found = locate(model)
    return TokenPruning(entry=1.0 if found.family.kind == "decoder" else max(1.0 - _IN_BLOCKS / len(found.blocks), 0.0))


def with_technique(settings: FinetuneSettings, data: TextData, model: nn.Module) -> FinetuneSettings:
    """Return settings that say what the model wears: where none was given, the recipe's token dial."""
    if settings.technique is not None:
        return settings
    early = settings.chosen_recipe.early
    return replace(settings, technique=early_dial(model, data) if early else TokenPruning())


def words_tell(train: Split) -> float:
    """Return how much single words tell of the labels: 1 for everything, 0 for no more than the majority class.

    ``(right - majority) / (1 - majority)`` of a linear model on TF-IDF of words, on every third row of each class,
    learnt from the others; of at most 6,000 rows.
    """
    linear: Any = require("sklearn.linear_model", extra="train")
    features: Any = require("sklearn.feature_extraction.text", extra="train")
    labels = train.labels or []
    rows = sorted(range(len(labels)), key=labels.__getitem__)[:: -(-len(labels) // _MOST_ROWS)]
    held, learnt = rows[::3], [row for at, row in enumerate(rows) if at % 3]
    texts = [" ".join(pair) for pair in zip(train.texts, train.pairs or [""] * len(train), strict=True)]
    truth = [labels[row] for row in held]
    majority = Counter(truth).most_common(1)[0][1] / len(truth)
    if majority == 1.0 or len({labels[row] for row in learnt}) < 2:
        return 0.0
    vectorizer = features.TfidfVectorizer(sublinear_tf=True, token_pattern=r"\S+")
    inputs = vectorizer.fit_transform([texts[row] for row in learnt])
    model = linear.LogisticRegression(C=100.0, max_iter=1000).fit(inputs, [labels[row] for row in learnt])
    right = float((model.predict(vectorizer.transform([texts[row] for row in held])) == truth).mean())
    return max((right - majority) / (1 - majority), 0.0)


def give_salience(loaded: LoadedModel, settings: FinetuneSettings, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Put on a model the table of salience that its technique needs, learnt from train rows, and take others off.

    Returns:
        A sentence for the model card; None where nothing was to be decided.

    Raises:
        SettingError: If the rows have no labels.
    """
    set_salience(loaded.model, None)
    scorer = getattr(settings.worn, "entry_scorer", None)
    if not getattr(settings.worn, "entry", 0.0):
        wanted = settings.task == "classification" and settings.chosen_recipe.early
        why = "by choice, or because single words tell too little of the labels"
        return f"Every token enters the first block, {why}." if wanted else None
    if scorer == "ends":
        return "What is left out of a prompt before the first block lies between its two ends."
    if "label" not in rows[0]:
        raise SettingError(
            "What tokens say about labels is learnt from labels.",
            given="a language model's rows",
            mend='Cut by place, with entry_scorer="ends", or leave entry out.',
        )
    teach_salience(loaded.model, loaded.tokenizer, rows)
    return f"What each token id says about the labels was learnt from {len(rows)} train rows."


def teach_salience(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Put on a model the table that `learn_salience` makes of train rows."""
    set_salience(model, learn_salience(rows, tokenizer, model.config.get_text_config().vocab_size))


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
    inputs, ids, idf = tfidf_of(rows)
    model = linear.LogisticRegression(max_iter=1000).fit(inputs, [row["label"] for row in rows])
    says = (torch.from_numpy(abs(model.coef_).max(axis=0)) * idf).float()
    table = torch.zeros(vocabulary)
    table[ids] = says / says.max().clamp(min=1e-30)
    always = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    table[[one for one in sorted(always) if one < vocabulary]] = torch.inf
    return table
