"""Counted multiply-accumulates of a forward, from the hidden states that entered and left each block.

Counted are the linear layers and the two products of attention, over real tokens (padding is not counted) and
over the keys a query may see (a causal row of N tokens: N (N + 1) / 2 pairs). Norms, activations, the
embedding look-up and rotary embeddings are left out, as usual. Summing up attention for the scores is not the
model's work and is reported apart.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

from rheostat.core.errors import MeasurementError
from rheostat.core.schedule import keep_count, keep_counts, split_rate

__all__ = [
    "BlockCost",
    "Macs",
    "ModelCost",
    "Plan",
    "Visible",
    "batch_macs",
    "decoding_macs",
    "macs_ratio",
    "planned_row",
    "row_macs",
    "visible_pairs",
]


@dataclass(frozen=True, slots=True)
class Visible:
    """Which keys a query sees.

    Attributes:
        causal: Only itself and what stands before it.
        window: Only keys less than so many columns away, in columns of the input; None for all.
    """

    causal: bool
    window: int | None = None


@dataclass(frozen=True, slots=True)
class BlockCost:
    """What one block costs.

    Attributes:
        attention: Weights of the linear layers in its attention: multiply-accumulates per state that enters.
        feed_forward: Weights of its other linear layers: multiply-accumulates per state that goes on.
        heads: Query heads.
        head_size: Numbers per head.
        visible: Which keys a query sees.
    """

    attention: int
    feed_forward: int
    heads: int
    head_size: int
    visible: Visible


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What a model costs: its blocks in order, and the weights of the linear layers outside of them."""

    blocks: tuple[BlockCost, ...]
    head: int


@dataclass(frozen=True, slots=True)
class Macs:
    """Multiply-accumulates of a forward.

    Attributes:
        attention_linear: Projections to queries, keys, values and output.
        attention_core: Queries times keys, and weights times values.
        feed_forward: Feed-forward layers.
        head: What follows the blocks, per output row.
        scoring: Additions that sum attention over queries for the scores; not part of `total`.
    """

    attention_linear: int = 0
    attention_core: int = 0
    feed_forward: int = 0
    head: int = 0
    scoring: int = 0

    @property
    def total(self) -> int:
        """The model's multiply-accumulates, without scoring."""
        return self.attention_linear + self.attention_core + self.feed_forward + self.head

    def __add__(self, other: Macs) -> Macs:
        return Macs(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Plan:
    """A setting of the token and depth dials, for arithmetic without a forward.

    Attributes:
        rate: Keep rate of the first block, in (0, 1]; 1 keeps everything.
        floor: The least number of states a block keeps.
        protected: Positions per row that are never dropped.
        depth: Blocks that run, from the first on; None for all.
        decay: How the keep rates of later blocks follow; 1 for the same rate.
        entry: Which part of the cut is made before the first block; 0 for none.
    """

    rate: float = 1.0
    floor: int = 5
    protected: int = 0
    depth: int | None = None
    decay: float = 1.0
    entry: float = 0.0


def batch_macs(
    cost: ModelCost,
    lengths: Sequence[int],
    survivors: Sequence[Sequence[Sequence[int]]],
    *,
    entered: Sequence[Sequence[int]] | None = None,
    output_rows: int = 1,
) -> Macs:
    """Count a forward that has run.

    Args:
        cost: Of the model, see `rheostat.measure.model_cost.cost_of`.
        lengths: Real tokens of each row.
        survivors: For each block that ran and each row, the sorted columns that went on, as
            ``Handle.survivors()`` gives them; empty for a plain forward.
        entered: For each row, the columns that entered the first block, as ``Handle.entered()`` gives them; None for
            all.
        output_rows: Rows per sequence that the head works on: 1 for a classifier and for next-token logits
            alone.

    Raises:
        MeasurementError: If there are more entries than blocks, or not one per row.
    """
    if not survivors:
        return sum((planned_row(cost, length, Plan(), output_rows) for length in lengths), Macs())
    if len(survivors) > len(cost.blocks) or any(len(rows) != len(lengths) for rows in survivors):
        raise MeasurementError(
            "Survivors have one entry per block that ran and, in it, one per row.",
            given=f"{len(survivors)} of {len(cost.blocks)} blocks, {len(lengths)} rows",
        )
    total = Macs()
    for row, length in enumerate(lengths):
        # All that the columns of the first block are for is their distance: where the row starts is the same
        # to it.
        first = range(length) if entered is None else entered[row]
        path = [first, *(block[row] for block in survivors)]
        total += row_macs(cost, path, output_rows)
    return total


def planned_row(cost: ModelCost, length: int, plan: Plan, output_rows: int = 1) -> Macs:
    """Count a row of ``length`` tokens by arithmetic; what a window sees takes survivors as evenly spread."""
    blocks = len(cost.blocks) if plan.depth is None else plan.depth
    before, rate = split_rate(plan.rate, plan.entry)
    entering = keep_count(length, length, before, plan.floor, plan.protected)
    counts = keep_counts(entering, rate, plan.floor, blocks, plan.protected, plan.decay)
    path = [_spread(count, length) for count in (entering, *counts)]
    return row_macs(cost, path, output_rows)


def macs_ratio(cost: ModelCost, lengths: Sequence[int], plan: Plan, *, output_rows: int = 1) -> float:
    """Return how many times fewer multiply-accumulates a plan takes than the plain model, by arithmetic.

    Args:
        cost: Of the model.
        lengths: Real tokens of each row; at least one token in all.
        plan: The setting of the dial.
        output_rows: Rows per sequence that the head works on.

    Returns:
        At least 1.

    Raises:
        MeasurementError: If there are no tokens.
    """
    if sum(lengths) < 1:
        raise MeasurementError("Counting needs at least one token.", given=list(lengths))
    plain = sum((planned_row(cost, length, Plan(), output_rows) for length in lengths), Macs())
    pruned = sum((planned_row(cost, length, plan, output_rows) for length in lengths), Macs())
    return plain.total / pruned.total


def row_macs(cost: ModelCost, path: Sequence[Sequence[int]], output_rows: int = 1) -> Macs:
    """Count one row.

    Args:
        cost: Of the model.
        path: For each block that runs the sorted columns that enter it, then those that leave the last of them.
        output_rows: Rows that the head works on.
    """
    linear = core = feed_forward = scoring = 0
    for block, entering, leaving in zip(cost.blocks[: len(path) - 1], path[:-1], path[1:], strict=True):
        pairs = visible_pairs(entering, block.visible)
        linear += block.attention * len(entering)
        core += 2 * block.heads * block.head_size * pairs
        feed_forward += block.feed_forward * len(leaving)
        scoring += block.heads * pairs if len(leaving) < len(entering) else 0
    return Macs(linear, core, feed_forward, cost.head * output_rows if path[0] else 0, scoring)


def decoding_macs(
    cost: ModelCost, lengths: Sequence[int], survivors: Sequence[Sequence[Sequence[int]]], steps: int
) -> Macs:
    """Count what comes after a prompt: tokens read one by one on its key-value cache, none of them dropped.

    Args:
        cost: Of the model.
        lengths: Real tokens of each row's prompt.
        survivors: Of the prompt, as `batch_macs` takes them: block l's cache holds what entered it, and as many
            blocks run for each token.
        steps: Tokens that are read.
    """
    total = Macs()
    cost = replace(cost, blocks=cost.blocks[: len(survivors) or None])
    for row, length in enumerate(lengths):
        held = [range(length), *(block[row] for block in survivors[:-1])] if survivors else [range(length)]
        start = max((columns[-1] for columns in held if len(columns)), default=-1) + 1
        for step in range(steps):
            total += _decoded(cost, held, start + step, step)
    return total


def _decoded(cost: ModelCost, held: Sequence[Sequence[int]], at: int, before: int) -> Macs:
    """Count one token at column ``at``, with ``before`` others read since the prompt."""
    linear = core = feed_forward = 0
    for place, block in enumerate(cost.blocks):
        columns, window = held[min(place, len(held) - 1)], block.visible.window
        seen = len(columns) - (0 if window is None else bisect_right(columns, at - window))
        recent = before if window is None else min(before, window - 1)
        linear += block.attention
        feed_forward += block.feed_forward
        core += 2 * block.heads * block.head_size * (seen + recent + 1)
    return Macs(linear, core, feed_forward, cost.head)


def visible_pairs(columns: Sequence[int], visible: Visible) -> int:
    """Return how many (query, key) pairs there are among states at these sorted columns.

    Example:
        >>> visible_pairs([0, 1, 2], Visible(causal=True))
        6
    """
    count, window = len(columns), visible.window
    if count == 0 or window is None or columns[-1] - columns[0] < window:
        return count * (count + 1) // 2 if visible.causal else count * count
    backward = sum(at + 1 - bisect_right(columns, column - window) for at, column in enumerate(columns))
    return backward if visible.causal else 2 * backward - count


def _spread(count: int, length: int) -> Sequence[int]:
    return range(length) if count == length else [at * length // count for at in range(count)]
