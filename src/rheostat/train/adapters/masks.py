"""The five ways in which SHiRA chooses the entries of a matrix that it trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch

from rheostat.train.adapters.trainable import Mask

__all__ = ["NEED_GRADIENTS", "choose_entries"]

NEED_GRADIENTS: Final = ("gradient", "snip")
"""Masks that look at gradients."""


def choose_entries(
    mask: Mask,
    weight: torch.Tensor,
    share: float,
    *,
    generator: torch.Generator,
    gradient: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return which entries of a matrix are trained.

    Sparse High Rank Adapters, section 3 (https://arxiv.org/abs/2406.13175):

    - ``structural``: whole rows and columns, evenly spread, and the diagonal. As many lines as fit into the share, so
      that there are somewhat fewer entries than with the other masks; of a small matrix only a part of the diagonal;
    - ``random``: each entry is as likely as any other;
    - ``weight``: the largest weights by magnitude;
    - ``gradient``: the largest gradients by magnitude;
    - ``snip``: the largest |weight x gradient| (https://arxiv.org/abs/1810.02340).

    Args:
        mask: One of these.
        weight: The matrix ``[rows, columns]``, whatever they stand for.
        share: Share of its entries, above 0; rounded down.
        generator: Draws the random ones, on the CPU.
        gradient: Of the loss, shaped as ``weight``; needed for the masks in `NEED_GRADIENTS`.

    Returns:
        Positions in the flattened matrix, int64, increasing, on the device of ``weight``; none where the share of a
        small matrix is less than one entry.

    Example:
        >>> weight = torch.tensor([[1.0, -9.0], [3.0, 0.0]])
        >>> choose_entries("weight", weight, 0.5, generator=torch.Generator())
        tensor([1, 2])
    """
    count = int(share * weight.numel())
    if mask == "structural":
        return _structural(weight.shape[0], weight.shape[1], count).to(weight.device)
    if mask == "random":
        chosen = torch.randperm(weight.numel(), generator=generator)[:count].to(weight.device)
        return chosen.sort().values
    score = _SCORES[mask](weight.detach().float(), weight if gradient is None else gradient.float())
    return score.flatten().topk(count).indices.sort().values


_SCORES: Final[dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]]] = {
    "weight": lambda weight, _: weight.abs(),
    "gradient": lambda _, gradient: gradient.abs(),
    "snip": lambda weight, gradient: (weight * gradient).abs(),
}


def _structural(rows: int, columns: int, count: int) -> torch.Tensor:
    diagonal = _spread(min(rows, columns), min(rows, columns, count))
    lines = 0
    while _at_most(rows, columns, lines + 1) <= count:
        lines += 1
    chosen = torch.zeros(rows, columns, dtype=torch.bool)
    chosen[diagonal, diagonal] = True
    chosen[_spread(rows, (lines + 1) // 2)] = True
    chosen[:, _spread(columns, lines // 2)] = True
    return chosen.flatten().nonzero().flatten()


def _at_most(rows: int, columns: int, lines: int) -> int:
    """Return how many entries rows and columns, in turn, and the diagonal have at most."""
    across, down = (lines + 1) // 2, lines // 2
    if across > rows or down > columns:
        return rows * columns + 1
    return across * columns + down * rows - across * down + min(rows, columns)


def _spread(length: int, count: int) -> torch.Tensor:
    """Return ``count`` positions out of ``length``, evenly spread, none twice."""
    return torch.arange(count) * length // max(count, 1)
