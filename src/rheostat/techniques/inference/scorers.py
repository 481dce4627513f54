"""Who goes on: the paper's score, and the baselines that every table shows beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch

from rheostat.core.errors import SettingError
from rheostat.core.names import suggest
from rheostat.models.scoring import Attended, Scorer

__all__ = ["SCORERS", "make_scorer"]


def _received(attended: Attended) -> torch.Tensor:
    if attended.received is None:
        raise AssertionError("this scorer reads attention, but none was summed")
    return attended.received


@final
@dataclass(frozen=True, slots=True)
class AttentionScore(Scorer):
    """Attention received from every real query, over all heads: the column sum of the softmax.

    Source: Zero-Shot Adjustable Acceleration, https://arxiv.org/abs/2509.01190, which names the quantity but gives no
    formula; the sum over queries and heads is that of PoWER-BERT and the Length-Adaptive Transformer. Deviations:
    padding queries do not count, and the softmax is taken before dropout.
    """

    name: ClassVar[str] = "attention"
    summary: ClassVar[str] = "attention received, summed over queries and heads (the paper)"
    queries: ClassVar[Literal["all"]] = "all"

    def score(self, attended: Attended) -> torch.Tensor:
        """Return the column sums."""
        return _received(attended)


@final
@dataclass(frozen=True, slots=True)
class MeanScore(Scorer):
    """Attention received per query that can see the state: a causal sum without its bias to early tokens."""

    name: ClassVar[str] = "mean"
    summary: ClassVar[str] = "attention received, per query that can see the token"
    reads_visible: ClassVar[bool] = True
    queries: ClassVar[Literal["all"]] = "all"

    def score(self, attended: Attended) -> torch.Tensor:
        """Return the column sums over the numbers of queries."""
        if attended.visible is None:
            raise AssertionError("this scorer reads how many queries see a state, but they were not counted")
        return _received(attended) / attended.visible.clamp(min=1)


@final
@dataclass(frozen=True, slots=True)
class LastScore(Scorer):
    """Attention from the last real query only, as in LazyLLM (https://arxiv.org/abs/2407.14057)."""

    name: ClassVar[str] = "last"
    summary: ClassVar[str] = "attention from the last token only"
    queries: ClassVar[int] = 1

    def score(self, attended: Attended) -> torch.Tensor:
        """Return the last query's attention, summed over heads."""
        return _received(attended)


@final
@dataclass(frozen=True, slots=True)
class WindowScore(Scorer):
    """Attention from the last 32 real queries, as in SnapKV (https://arxiv.org/abs/2404.14469), without its pooling."""

    name: ClassVar[str] = "window"
    summary: ClassVar[str] = "attention from the last 32 tokens"
    queries: ClassVar[int] = 32

    def score(self, attended: Attended) -> torch.Tensor:
        """Return the attention of the last queries, summed over heads."""
        return _received(attended)


@final
@dataclass(frozen=True, slots=True)
class RecencyScore(Scorer):
    """Keeps the last states: a baseline that reads nothing."""

    name: ClassVar[str] = "recency"
    summary: ClassVar[str] = "keeps the last tokens (baseline)"
    queries: ClassVar[int] = 0

    def score(self, attended: Attended) -> torch.Tensor:
        """Return the columns."""
        return attended.columns.double()


@final
@dataclass(frozen=True, slots=True)
class FirstScore(Scorer):
    """Keeps the first states: a baseline that reads nothing."""

    name: ClassVar[str] = "first"
    summary: ClassVar[str] = "keeps the first tokens (baseline)"
    queries: ClassVar[int] = 0

    def score(self, attended: Attended) -> torch.Tensor:
        """Return the columns, negated."""
        return -attended.columns.double()


@final
@dataclass(frozen=True, slots=True)
class RandomScore(Scorer):
    """Keeps states at random: a baseline that reads nothing.

    The draw is a hash of column and block, so that it repeats, and a row's survivors do not depend on its batch.
    """

    name: ClassVar[str] = "random"
    summary: ClassVar[str] = "keeps tokens at random (baseline)"
    queries: ClassVar[int] = 0

    def score(self, attended: Attended) -> torch.Tensor:
        """Return a fixed pseudo-random number in [0, 1) for each column and block."""
        mixed = attended.columns * 2654435761 + (attended.block + 1) * 40503 * 65537
        for _ in range(2):
            mixed = ((mixed ^ (mixed >> 15)) * 2246822519) & 0xFFFFFFFF
        return (mixed ^ (mixed >> 13)).double() / 2.0**32


SCORERS: dict[str, type[Scorer]] = {
    scorer.name: scorer
    for scorer in (AttentionScore, MeanScore, LastScore, WindowScore, RecencyScore, RandomScore, FirstScore)
}
"""Every scorer by name."""


def make_scorer(name: str) -> Scorer:
    """Make a scorer by name.

    Raises:
        SettingError: If nobody knows the name.
    """
    if not isinstance(name, str) or name not in SCORERS:
        raise SettingError("A scorer must be a known one.", given=repr(name), mend=suggest(str(name), SCORERS))
    return SCORERS[name]()
