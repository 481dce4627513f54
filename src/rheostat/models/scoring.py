"""The interface between an attention pass and whoever ranks hidden states by it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

__all__ = ["Attended", "Scorer"]


@dataclass(frozen=True, slots=True)
class Attended:
    """What one block's attention says about the hidden states that entered it.

    Attributes:
        received: Attention mass that each state received, summed over all heads and over the scorer's queries:
            the column sums of the softmax, before dropout, shape ``[batch, entering]``, float32 or float64; None for
            a scorer that reads no query.
        visible: How many of those queries can see each state, same shape; None unless the scorer reads it.
        columns: Position of each state in the whole sequence (cached tokens first), int64 ``[batch, entering]``.
        block: Index of the block, from 0.
    """

    received: torch.Tensor | None
    visible: torch.Tensor | None
    columns: torch.Tensor
    block: int


class Scorer(ABC):
    """Ranks the hidden states that entered a block; those with the highest score go on.

    Attributes:
        name: What users call it.
        summary: One line for tables.
        reads_visible: Whether it reads ``visible``, which is counted only then.
        queries: Whose attention it reads: every real query, the last ``w`` real queries of each row, or none (0).
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reads_visible: ClassVar[bool] = False

    @property
    @abstractmethod
    def queries(self) -> int | Literal["all"]:
        """The queries whose attention counts: ``"all"``, the last so many of each row, or 0."""

    @abstractmethod
    def score(self, attended: Attended) -> torch.Tensor:
        """Return one score per state, float, shape ``[batch, entering]``; higher goes on.

        A row's scores must depend on that row alone.
        """
