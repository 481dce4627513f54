"""How many hidden states each block keeps: the arithmetic of the token dial."""

from __future__ import annotations

import math

__all__ = ["block_rate", "keep_count", "keep_counts", "rate_of_work", "split_rate"]


def block_rate(rate: float, block: int, decay: float) -> float:
    """Return the part of what enters a block that goes on, so that ``rate ** (l ** decay)`` is left after l blocks.

    With decay 1 every block keeps the rate of what enters it, as in the paper; below 1 the first block cuts deepest and
    later ones less and less; at 0 only the first cuts; above 1 the last ones cut deepest. A schedule of ours.

    Args:
        rate: The keep rate, in (0, 1]: what the first block keeps.
        block: The block's index, from 0.
        decay: The exponent, at least 0.

    Returns:
        Between 0 and 1; ``rate`` itself at decay 1 or in the first block.

    Example:
        >>> [round(block_rate(0.25, block, 0.5), 2) for block in range(4)]
        [0.25, 0.56, 0.64, 0.69]
    """
    before = float(block) ** decay if block else 0.0
    return float(rate ** ((block + 1.0) ** decay - before))


def split_rate(rate: float, entry: float) -> tuple[float, float]:
    """Return what part of a row enters the first block, and the keep rate of that block: a schedule of ours.

    Their product is the rate. With entry 0 every token enters, as in the paper; with 1 all that goes, goes before the
    first block.

    Args:
        rate: The keep rate, in (0, 1].
        entry: Which part of the cut, in its exponent, is made before the first block, in [0, 1].

    Example:
        >>> [round(part, 2) for part in split_rate(0.3, 0.75)]
        [0.41, 0.74]
    """
    return float(rate**entry), float(rate ** (1.0 - entry))


def rate_of_work(share: float, blocks: int, entry: float = 0.0) -> float:
    """Return the keep rate at which so many states enter the blocks, of as many as enter them all without a cut.

    At a rate r block l, from 0, is entered by ``r ** (entry + l (1 - entry))`` of a row; the share is the mean over the
    blocks. So 0.5 means ten times fewer states in 18 blocks and three times fewer in 6.

    Args:
        share: In (0, 1].
        blocks: Blocks of the model, at least 1.
        entry: See `split_rate`.

    Returns:
        From the share to 1, to within 1e-6: never below the share, which the first block may keep from being reached.

    Example:
        >>> [round(rate_of_work(0.25, blocks), 2) for blocks in (6, 18)]
        [0.33, 0.78]
    """

    def entering(rate: float) -> float:
        return math.fsum(rate ** (entry + block * (1.0 - entry)) for block in range(blocks)) / blocks

    low, high = share, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if entering(middle) < share else (low, middle)
    return low


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


def keep_counts(tokens: int, rate: float, floor: int, blocks: int, protected: int = 0, decay: float = 1.0) -> list[int]:
    """Return ``[N_1, ..., N_blocks]`` for a row of ``tokens`` real tokens; see `keep_count` and `block_rate`.

    Example:
        >>> keep_counts(16, 0.5, 5, 3)
        [8, 5, 5]
    """
    counts, previous = [], tokens
    for block in range(blocks):
        previous = keep_count(previous, tokens, block_rate(rate, block, decay), floor, protected)
        counts.append(previous)
    return counts
