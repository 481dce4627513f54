"""How many hidden states each block keeps: the arithmetic of the token dial."""

from __future__ import annotations

import math

__all__ = ["keep_count", "keep_counts"]


def keep_count(previous: int, tokens: int, rate: float, floor: int, protected: int = 0) -> int:
    """Return how many hidden states of a row go on through one block.

    ``N_l = min(n, max(ceil(rate * N_{l-1}), floor))``, and never fewer than are protected nor more than came in
    (Zero-Shot Adjustable Acceleration, https://arxiv.org/abs/2509.01190, equation 2; the ceiling is ours: the paper
    does not say how it rounds).

    Args:
        previous: ``N_{l-1}``, the states that entered the block.
        tokens: ``n``, the row's real tokens.
        rate: The keep rate, in (0, 1].
        floor: The least number of states a block keeps.
        protected: Positions that are never dropped.

    Returns:
        ``N_l``, between 0 (a row without tokens) and ``previous``.

    Example:
        >>> keep_count(10, 10, 0.7, 5)
        7
    """
    # 0.07 * 100 is 7.000000000000001: without the rounding the ceiling would keep 8.
    wanted = max(math.ceil(round(rate * previous, 9)), floor, protected)
    return min(tokens, previous, wanted)


def keep_counts(tokens: int, rate: float, floor: int, blocks: int, protected: int = 0) -> list[int]:
    """Return ``[N_1, ..., N_blocks]`` for a row of ``tokens`` real tokens; see `keep_count`.

    Example:
        >>> keep_counts(16, 0.5, 5, 3)
        [8, 5, 5]
    """
    counts, previous = [], tokens
    for _ in range(blocks):
        previous = keep_count(previous, tokens, rate, floor, protected)
        counts.append(previous)
    return counts
