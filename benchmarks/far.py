"""A validation split whose texts are far from the training texts, for sets that draw many texts from one source.

Film reviews of one split are of the same films, those of the test split of others; what a model knows of a film by
heart helps on the first and not on the second (docs/lab-log.md). Films are told by names: capitalised words that few
texts have.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from rheostat.core.text import TextData

NEAREST = 0.5
"""Training texts that are nearer than that to a validation text are left out: such texts are about as far from each
other as imdb's test reviews are from its training reviews (quartiles 0.29, 0.37 and 0.44; 0.29, 0.38 and 0.49)."""
_MOST = 40
_NAME = re.compile(r"\b[A-Z][a-z]{3,}\b")


def far_split(data: TextData, count: int, nearest: float = NEAREST, seed: int = 77) -> TextData:
    """Return data whose validation split is a part of train, and whose train split is far from it.

    Args:
        data: With a train split; its other splits are left out.
        count: Texts of the validation split.
        nearest: Largest cosine between the names of a training text and of any validation text.
        seed: Decides which texts are judged: with the same seed always the same ones.
    """
    train = data.split("train")
    order = list(range(len(train)))
    random.Random(seed).shuffle(order)
    judged, rest = sorted(order[:count]), sorted(order[count:])
    close = likeness(train.texts, rest, judged)
    kept = [row for row, cosine in zip(rest, close, strict=True) if cosine <= nearest]
    note = f"{count} of {len(train)} train texts are judged, {len(kept)} that are far from them are learnt from."
    splits = {"train": train.take(kept), "validation": train.take(judged)}
    return replace(data, splits=splits, notes=(*data.notes, note))


def likeness(texts: Sequence[str], rows: Sequence[int], others: Sequence[int]) -> list[float]:
    """Return for each of some rows the largest cosine of its names with those of any of the others."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    counts = Counter(name for text in texts for name in set(_NAME.findall(text)))
    # A word that one text has says nothing; one that many have is no name of a film or a person in it.
    known = sorted(name for name, count in counts.items() if 2 <= count <= _MOST)
    if not known:
        return [0.0] * len(rows)
    names = TfidfVectorizer(analyzer=_NAME.findall, vocabulary=known, binary=True, lowercase=False).fit_transform(texts)
    cosines = (names[list(rows)] @ names[list(others)].T).max(axis=1)
    return [float(value) for value in cosines.toarray().ravel()]
