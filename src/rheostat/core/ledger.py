"""What each block's key-value cache holds of each position, and how it came there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["COPIED", "EXACT", "FILLED", "KINDS", "MISSING", "PROJECTED", "PRUNED", "Ledger"]

EXACT: Final = "exact"
FILLED: Final = "filled"
PROJECTED: Final = "projected"
COPIED: Final = "copied"
PRUNED: Final = "pruned"
MISSING: Final = "missing"

KINDS: Final = (EXACT, FILLED, PROJECTED, COPIED, PRUNED, MISSING)
"""Computed when the token was read; computed the same way later, when a deeper token needed it; made from the state
with which the token left; taken over from the block that it left at; dropped by the token dial; not there yet."""


class Ledger:
    """For each block, how each position of the sequence stands in its cache.

    Args:
        blocks: Blocks of the model.

    Example:
        >>> ledger = Ledger(2)
        >>> ledger.extend(2)
        >>> ledger.mark(range(2), range(2), EXACT)
        >>> ledger.extend(1)
        >>> ledger.mark(range(1), [2], EXACT)
        >>> ledger.of(1)
        ('exact', 'exact', 'missing')
    """

    def __init__(self, blocks: int) -> None:
        self._marks: list[list[str]] = [[] for _ in range(blocks)]

    def __len__(self) -> int:
        return len(self._marks[0])

    def extend(self, columns: int) -> None:
        """Add columns that no block holds yet."""
        for marks in self._marks:
            marks.extend([MISSING] * columns)

    def mark(self, blocks: Iterable[int], columns: Iterable[int], kind: str) -> None:
        """Say how columns stand in blocks."""
        chosen = list(columns)
        for block in blocks:
            for column in chosen:
                self._marks[block][column] = kind

    def forget(self, column: int) -> None:
        """Take the columns from one on out again."""
        for marks in self._marks:
            del marks[column:]

    def of(self, block: int) -> tuple[str, ...]:
        """Return how each column stands in a block."""
        return tuple(self._marks[block])

    def held(self, block: int) -> list[int]:
        """Return the columns of which a block holds keys and values."""
        return [column for column, kind in enumerate(self._marks[block]) if kind not in (PRUNED, MISSING)]

    def counts(self) -> list[dict[str, int]]:
        """Return for each block how many columns there are of each kind, kinds that do not occur left out."""
        return [{kind: marks.count(kind) for kind in KINDS if kind in marks} for marks in self._marks]
