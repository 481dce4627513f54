"""Which blocks a forward runs, and what stands in for those it leaves out.

A forward through blocks ``start`` to ``stop`` is the model's own: embedding, masks, position embeddings, final norm and
head stay. A block before ``start`` hands its input on, block ``start`` gets saved states in place of its input, and
blocks from ``stop`` on hand theirs on, so that the family's own final norm and head follow.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch

from rheostat.core.errors import SettingError
from rheostat.models.flow import Flow, Step

__all__ = ["CURRENT_RUN", "Climbed", "Everything", "Ran", "Reread", "Run", "Segment", "current_segment", "through"]


@dataclass(slots=True, eq=False)
class Segment:
    """Blocks ``start`` to ``stop`` of a forward, what enters the first of them, and what left some of them.

    Attributes:
        stop: The block before which it ends, from 1; the number of blocks for all.
        start: The first block that runs, counted from 0.
        states: What enters it, ``[batch, length, hidden]``; left out where ``start`` is 0.
        path: Under pruning, what entered each block so far and what enters block ``start``: the ``path_after`` of the
            segment below; empty for every real column.
        project: Whether its blocks only fill the cache: each projects the states to its keys and values, and hands them
            on as they are.
        watch: Blocks whose output is kept in ``seen``; ``start - 1`` for what enters the first one.
        seen: What left the watched blocks in the last forward, ``[batch, length, hidden]`` by block.
        path_after: Under pruning, ``path`` for the segment above, of the last forward.
    """

    stop: int
    start: int = 0
    states: torch.Tensor | None = None
    path: tuple[Step, ...] = ()
    project: bool = False
    watch: frozenset[int] = frozenset()
    seen: dict[int, torch.Tensor] = field(default_factory=dict)
    path_after: tuple[Step, ...] = ()

    @property
    def left(self) -> torch.Tensor:
        """What left the last block, before the final norm; that block must be watched."""
        return self.seen[self.stop - 1]

    def check(self, blocks: int, batch: int, length: int) -> None:
        """Refuse what does not fit a model of so many blocks or this input.

        Raises:
            SettingError: If it does not.
        """
        if not 0 <= self.start < self.stop <= blocks or (self.states is None) != (self.start == 0):
            raise SettingError(
                f"A segment lies within the model's {blocks} blocks; saved states enter it unless it starts at 0.",
                given=f"blocks {self.start} to {self.stop} {'without' if self.states is None else 'with'} states",
            )
        if self.states is not None and self.states.shape[:2] != (batch, length):
            raise SettingError(
                "Saved states have one vector for each token of the forward.",
                given=f"{tuple(self.states.shape)} for input of {(batch, length)}",
            )


_SEGMENT: ContextVar[Segment | None] = ContextVar("rheostat_segment", default=None)


def current_segment() -> Segment | None:
    """Return the segment that a forward in this context is to run; None where nobody asked for one."""
    return _SEGMENT.get()


@contextmanager
def through(segment: Segment) -> Iterator[Segment]:
    """Let forwards of a worn model inside run this segment only, whatever the depth dial says.

    Example:
        >>> with through(Segment(stop=4, watch=frozenset({3}))) as lower:  # doctest: +SKIP
        ...     shallow = model(**inputs)
        >>> with through(Segment(start=4, stop=6, states=lower.left)):  # doctest: +SKIP
        ...     deeper = model(**inputs)
    """
    token = _SEGMENT.set(segment)
    try:
        yield segment
    finally:
        _SEGMENT.reset(token)


@dataclass(frozen=True, slots=True)
class Everything:
    """What went on in a forward that dropped nothing but left blocks out.

    Attributes:
        blocks: Blocks from the first to the last that ran.
        batch: Rows.
        length: Columns of the forward's input.
        past: Columns that earlier calls saw.
        mask: Which columns are real, bool ``[batch, length]``; None where all are.
    """

    blocks: int
    batch: int
    length: int
    past: int
    mask: torch.Tensor | None

    def survivors(self) -> list[list[list[int]]]:
        """Return, for each block and each row, the columns of the whole sequence that went on: every real one."""
        return [self.entered() for _ in range(self.blocks)]

    def entered(self) -> list[list[int]]:
        """Return, for each row, the columns that entered the first block: every real one."""
        if self.mask is None:
            return [list(range(self.past, self.past + self.length)) for _ in range(self.batch)]
        return [(row.nonzero()[:, 0] + self.past).tolist() for row in self.mask]


@dataclass(frozen=True, slots=True)
class Climbed:
    """What went on in forwards that went up together, with fewer rows from one to the next.

    Attributes:
        rows: Rows of the first.
        parts: For each forward the block before which it ended, its rows of the first, and what went on in it.
    """

    rows: int
    parts: tuple[tuple[int, tuple[int, ...], Ran], ...]

    def survivors(self) -> list[list[list[int]]]:
        """Return, for each block and each row, the columns that went on: none of rows that had left."""
        found: list[list[list[int]]] = []
        for stop, rows, part in self.parts:
            for states in part.survivors()[len(found) : stop]:
                of_row = dict(zip(rows, states, strict=True))
                found.append([of_row.get(row, []) for row in range(self.rows)])
        return found

    def entered(self) -> list[list[int]]:
        """Return, for each row, the columns that entered the first block."""
        return self.parts[0][2].entered()


@dataclass(frozen=True, slots=True)
class Reread:
    """What went on in two readings of a batch.

    Attributes:
        first: In the first reading.
        rows: The rows that were read again.
        second: In the second reading, of those rows alone.
    """

    first: Ran
    rows: tuple[int, ...]
    second: Ran

    def survivors(self) -> list[list[list[int]]]:
        """Return, for each block and each row, the columns that went on in the reading that gave the row's answer."""
        first, second = self.first.survivors(), self.second.survivors()
        place = {row: at for at, row in enumerate(self.rows)}
        none: list[list[int]] = [[] for _ in self.first.entered()]
        deepest = max(len(first), len(second))
        first, second = (path + [none] * (deepest - len(path)) for path in (first, second))
        return [
            [again[place[row]] if row in place else states for row, states in enumerate(once)]
            for once, again in zip(first, second, strict=True)
        ]

    def entered(self) -> list[list[int]]:
        """Return, for each row, the columns that entered the first block in the reading that gave its answer."""
        found = self.first.entered()
        for row, columns in zip(self.rows, self.second.entered(), strict=True):
            found[row] = columns
        return found


Ran = Flow | Everything | Climbed | Reread
"""What went on in a forward."""


class Run:
    """One forward of a worn model that is not the plain one, for its blocks to find.

    Args:
        segment: Which blocks run.
        flow: What each of them drops; None where they run as the plain model's do.
    """

    def __init__(self, segment: Segment, flow: Flow | None) -> None:
        self.segment, self.flow = segment, flow
        self._called = 0

    def next_block(self) -> int:
        """Return the index of the block that is being called, and count it."""
        self._called += 1
        return self._called - 1

    def entering(self, block: int, states: torch.Tensor) -> torch.Tensor | None:
        """Return what enters a block that would get ``states``; None where the block does not run."""
        segment = self.segment
        if not segment.start <= block < segment.stop:
            return None
        if block > segment.start:
            return states
        entering = states if segment.states is None else segment.states
        if block - 1 in segment.watch:
            segment.seen[block - 1] = entering
        return entering

    def left(self, block: int, states: torch.Tensor) -> None:
        """Hear what left a block."""
        if block in self.segment.watch:
            self.segment.seen[block] = states
        if self.flow is not None and block == self.segment.stop - 1:
            self.segment.path_after = tuple(self.flow.steps[: block + 2])


CURRENT_RUN: ContextVar[Run | None] = ContextVar("rheostat_run", default=None)
"""The forward that runs in this context, for the blocks to find."""
