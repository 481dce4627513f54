"""The state of one forward under pruning: what entered each block, and what went on."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rheostat.core.schedule import block_rate, keep_count, split_rate
from rheostat.models.scoring import Scorer

__all__ = ["NOTHING", "Cut", "Flow", "Given", "Step"]


@dataclass(frozen=True, slots=True)
class Cut:
    """What a forward is to drop in each block.

    Attributes:
        rate: Keep rate of the first block, in (0, 1].
        floor: Least number of states a block keeps.
        scorer: Who ranks the states; None only where the rate is 1.
        first: Whether the first real token of each row is never dropped.
        last: Whether the last real token of each row is never dropped.
        marked: Further positions that are never dropped, bool ``[batch, length]`` over the columns of this forward.
        decay: How the keep rates of later blocks follow, see `rheostat.core.schedule.block_rate`; 1 for the same rate.
        entry: Which part of the cut, in its exponent, is made before the first block, in [0, 1]; see
            `rheostat.core.schedule.split_rate`.
        entry_scorer: Who ranks the tokens there, see `rheostat.techniques.TokenPruning`.
    """

    rate: float
    floor: int
    scorer: Scorer | None
    first: bool
    last: bool
    marked: torch.Tensor | None = None
    decay: float = 1.0
    entry: float = 0.0
    entry_scorer: str = "salience"


NOTHING = Cut(rate=1.0, floor=1, scorer=None, first=False, last=False)
"""The cut that drops nothing."""


@dataclass(frozen=True, slots=True)
class Step:
    """The hidden states that stand between two blocks.

    Attributes:
        columns: Their columns in this forward's input, int64 ``[batch, width]``: per row ascending, then, in rows that
            hold fewer than ``width``, distinct columns of states that are gone (never read, never written).
        counts: How many of a row's columns are real.
        whole: Whether this is every column of every row, so that nothing needs gathering.
    """

    columns: torch.Tensor
    counts: tuple[int, ...]
    whole: bool = False

    @property
    def width(self) -> int:
        """Columns per row, padding included."""
        return self.columns.shape[1]

    @property
    def ragged(self) -> bool:
        """Whether some row holds fewer states than another."""
        return min(self.counts) < self.width

    def valid(self) -> torch.Tensor | None:
        """Which entries are real, bool ``[batch, width]``; None where all are."""
        if not self.ragged:
            return None
        return _first(self.counts, self.width, self.columns.device)

    def of_rows(self, rows: torch.Tensor) -> Step:
        """Return the step of some rows of the batch, in the order of ``rows``, int64 ``[rows]``."""
        counts = tuple(self.counts[row] for row in rows.tolist())
        columns = self.columns.index_select(0, rows.to(self.columns.device))
        return Step(columns[:, : self.width if self.whole else max(*counts, 1)], counts, self.whole)


@dataclass(frozen=True, slots=True)
class Given:
    """What a forward gets.

    Attributes:
        batch: Rows.
        length: Columns of its input.
        device: Where the model's hidden states are.
        mask: Which columns hold real tokens, bool ``[batch, length]``; None where all do.
        multiple: Widths are to be multiples of this; they are padded where there is room.
        entry_scores: What each column is worth before any block has read it, float ``[batch, length]``; None where no
            part of the cut is made there.
    """

    batch: int
    length: int
    device: torch.device
    mask: torch.Tensor | None = None
    multiple: int = 1
    entry_scores: torch.Tensor | None = None


class Flow:
    """One forward of one batch under pruning.

    Blocks call it in order. What was chosen once is kept, so that gradient checkpointing, which runs a block's
    forward again in the backward pass, takes the same states again.

    Args:
        cut: What to drop.
        given: What the forward gets.
        past: Columns of the sequence that earlier calls saw (the logical length of the cache).
        path: What entered the blocks that an earlier forward ran, and what enters the next one; empty where this
            forward starts at the first block.

    Attributes:
        first: The first block that runs.
        projects: Whether blocks fill the cache and do nothing else.
        may_overwrite: Whether nobody but the next block holds a block's output, so that it may be written over.
    """

    def __init__(self, cut: Cut, given: Given, *, past: int, path: tuple[Step, ...] = ()) -> None:
        self.cut, self.past = cut, past
        self.batch, self.length = given.batch, given.length
        self._multiple = given.multiple
        start = _start(given)
        before, self._rate = split_rate(cut.rate, cut.entry)
        self.first = 0
        self.lengths = start.counts
        self.may_overwrite = self.projects = False
        self._protected, self._protected_counts = self._protect(start, given.mask)
        self.steps = list(path) or [self._enter(start, before, given.entry_scores)]

    def start_at(self, block: int) -> None:
        """Start at a block; where no path says what enters it, every real state does."""
        self.first = block
        self.steps += self.steps[-1:] * (block + 1 - len(self.steps))

    def columns_seen(self, step: Step) -> torch.Tensor:
        """Return the step's columns counted from the start of the whole sequence."""
        return step.columns + self.past if self.past else step.columns

    def drops(self, block: int) -> bool:
        """Whether this block will drop anything, known before its attention runs."""
        return self._next_counts(block) != self.steps[block].counts

    def choose(self, block: int, scores: torch.Tensor | None) -> torch.Tensor | None:
        """Choose who goes on through a block.

        Args:
            block: The block's index.
            scores: ``[batch, entering]``; may be None where the block drops nothing.

        Returns:
            Indices into the entering states, ``[batch, width of the next step]``; None where all go on.
        """
        step = self.steps[block]
        counts = self._next_counts(block)
        if counts == step.counts:
            self._remember(block, step)
            return None
        if len(self.steps) > block + 1:
            return _positions_of(self.steps[block + 1].columns, step.columns)
        if scores is None:
            raise AssertionError("a block that drops states was not scored")
        chosen = _best(self._ranked(scores, step), counts, self._multiple)
        self._remember(block, Step(step.columns.gather(1, chosen), counts))
        return chosen

    def survivors(self) -> list[list[list[int]]]:
        """Return, for each block and each row, the sorted columns of the whole sequence that went on."""
        return [self._columns_of(step) for step in self.steps[1:]]

    def entered(self) -> list[list[int]]:
        """Return, for each row, the sorted columns of the whole sequence that entered the first block."""
        return self._columns_of(self.steps[0])

    def _columns_of(self, step: Step) -> list[list[int]]:
        rows = self.columns_seen(step).tolist()
        return [row[:count] for row, count in zip(rows, step.counts, strict=True)]

    def _remember(self, block: int, step: Step) -> None:
        if len(self.steps) == block + 1:
            self.steps.append(step)

    def _next_counts(self, block: int) -> tuple[int, ...]:
        return self._counts_after(self.steps[block], block_rate(self._rate, block, self.cut.decay))

    def _counts_after(self, step: Step, rate: float) -> tuple[int, ...]:
        rows = zip(step.counts, self.lengths, self._protected_counts, strict=True)
        return tuple(keep_count(count, real, rate, self.cut.floor, kept) for count, real, kept in rows)

    def _enter(self, start: Step, rate: float, scores: torch.Tensor | None) -> Step:
        """Return what enters the first block."""
        counts = self._counts_after(start, rate)
        if rate == 1.0 or counts == start.counts:
            return start
        if scores is None:
            raise AssertionError("a cut before the first block was not scored")
        chosen = _best(self._ranked(scores.gather(1, start.columns), start), counts, self._multiple)
        return Step(start.columns.gather(1, chosen), counts)

    def _ranked(self, scores: torch.Tensor, step: Step) -> torch.Tensor:
        ranked = scores
        if self._protected is not None:
            ranked = ranked.masked_fill(self._protected.gather(1, step.columns), torch.inf)
        valid = step.valid()
        return ranked if valid is None else ranked.masked_fill(~valid, -torch.inf)

    def _protect(self, start: Step, mask: torch.Tensor | None) -> tuple[torch.Tensor | None, tuple[int, ...]]:
        if not (self.cut.first or self.cut.last) and self.cut.marked is None:
            return None, (0,) * self.batch
        protected = torch.zeros((self.batch, self.length), dtype=torch.bool, device=start.columns.device)
        for wanted, slots in (
            (self.cut.first, [0] * self.batch),
            (self.cut.last, [n - 1 for n in start.counts]),
        ):
            if wanted:
                # A row without tokens has no last one; its slot 0 is padding, which is never counted.
                at = torch.tensor([[max(slot, 0)] for slot in slots], device=protected.device)
                protected.scatter_(1, start.columns.gather(1, at), True)
        if self.cut.marked is None:
            ends = int(self.cut.first) + int(self.cut.last)
            return protected, tuple(min(ends, count) for count in start.counts)
        protected |= self.cut.marked.to(protected.device)
        if mask is not None:
            protected &= mask
        return protected, tuple(protected.sum(1).tolist())


def _start(given: Given) -> Step:
    batch, length, mask = given.batch, given.length, given.mask
    everything = torch.arange(length, device=given.device).expand(batch, length)
    if mask is None or length == 1:
        return Step(everything, (length,) * batch, whole=True)
    counts = tuple(mask.sum(1).tolist())
    if min(counts) == length:
        return Step(everything, counts, whole=True)
    real_first = torch.sort(~mask, dim=1, stable=True).indices
    return Step(real_first[:, : _width(counts, given.multiple)], counts)


def _width(counts: tuple[int, ...], multiple: int) -> int:
    return -(-max(*counts, 1) // multiple) * multiple


def _first(counts: tuple[int, ...], width: int, device: torch.device) -> torch.Tensor:
    limits = torch.tensor(counts, device=device).unsqueeze(1)
    return torch.arange(width, device=device) < limits


def _best(ranked: torch.Tensor, counts: tuple[int, ...], multiple: int) -> torch.Tensor:
    best = torch.sort(ranked, dim=1, descending=True, stable=True).indices[:, : _width(counts, multiple)]
    width = best.shape[1]
    if min(counts) == width:
        return best.sort(dim=1).values
    # In rows that keep fewer, the rest of the slots goes behind the kept ones.
    entering = ranked.shape[1]
    behind = (~_first(counts, width, ranked.device)) * entering
    return (best + behind).sort(dim=1).values % entering


def _positions_of(wanted: torch.Tensor, among: torch.Tensor) -> torch.Tensor:
    """Return where each wanted column stands in ``among``: only used when a checkpointed block runs again."""
    return (among.unsqueeze(1) == wanted.unsqueeze(2)).int().argmax(dim=2)
