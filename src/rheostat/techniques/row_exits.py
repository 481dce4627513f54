"""Exits for classifiers: each row of a batch leaves the model at its own depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from rheostat.core.errors import SettingError
from rheostat.core.exits import Criterion, ExitRule
from rheostat.models.segment import Climbed, Segment, through
from rheostat.techniques.depths import blocks_of, checked_depths, without_cache
from rheostat.techniques.narrowing import narrowed, shape_of, width_of

if TYPE_CHECKING:
    from rheostat.techniques.handle import Handle

__all__ = ["Exited", "classify_with_exits", "exit_scores", "leave", "similarity"]


@dataclass(frozen=True, slots=True)
class Exited:
    """What a classifier said about each row, and how deep it went for it.

    Attributes:
        logits: ``[rows, classes]``; each row's are those of the model at its depth.
        depths: The depth of each row, int64 ``[rows]``.
    """

    logits: torch.Tensor
    depths: torch.Tensor

    @property
    def mean_depth(self) -> float:
        """Mean over the rows."""
        return float(self.depths.double().mean())


@torch.no_grad()
def classify_with_exits(handle: Handle, rule: ExitRule, **inputs: Any) -> Exited:
    """Run a classifier block by block, and let each row leave as soon as its score reaches the rule's threshold.

    At each of the rule's depths the head answers. Rows that stay go on through the next blocks in a smaller batch, from
    where they are: no block runs twice for a row, and columns that only hold padding now are cut off. A row's answer is
    that of the model at the row's depth, whoever else is in the batch.

    Sources: https://arxiv.org/abs/2309.08968 (SoFT: confidence), https://arxiv.org/abs/2211.11152 (MuE: similarity).
    Deviation from MuE: its code compares whole batches, flattened, so that a row's depth depends on its neighbours;
    here each row is compared by itself, over its real positions. Other dials hold: a row may be pruned, too.

    Args:
        handle: The handle of a model with a classification head; it has at least one dial.
        rule: When a row leaves; a depth that is the number of blocks is passed by everybody.
        inputs: What the model takes, by name; ``attention_mask`` says which positions are real.

    Raises:
        SettingError: If a depth is out of range, the model gives no ``logits [rows, classes]``, or rows would be read
            twice.

    Example:
        >>> exited = classify_with_exits(handle, ExitRule({2: 0.95, 4: 0.9}), **batch)  # doctest: +SKIP
        >>> exited.logits.argmax(-1), exited.mean_depth  # doctest: +SKIP
    """
    checked_depths(handle, rule.depths)
    _refuse_again(handle)
    return leave(handle, rule, blocks_of(handle), inputs)


@torch.no_grad()
def leave(handle: Handle, rule: ExitRule, stop: int, inputs: Mapping[str, Any]) -> Exited:
    """Run the first ``stop`` blocks of a classifier, each row as far as the rule asks; see `classify_with_exits`."""
    path = checked_depths(handle, {*(depth for depth in rule.depths if depth < stop), stop})
    batch = _Batch(handle, without_cache(handle, inputs))
    answers: torch.Tensor | None = None
    depths = torch.full((len(batch.rows),), stop, dtype=torch.long)
    parts = []
    for depth in path:
        rows = tuple(batch.rows.tolist())
        logits, scores = batch.climb(depth, rule.criterion)
        parts.append((depth, rows, handle.went_on))
        if answers is None:
            answers = logits.new_empty((len(depths), logits.shape[1]))
        leaves = scores >= rule.thresholds[depth] if depth < stop else torch.ones_like(scores, dtype=torch.bool)
        gone = batch.rows[leaves.cpu()]
        answers[gone.to(answers.device)] = logits[leaves]
        depths[gone] = depth
        if bool(leaves.all()):
            break
        batch.keep((~leaves).nonzero()[:, 0])
    if answers is None:
        raise AssertionError("a model has a block")
    handle.went_on = Climbed(len(depths), tuple(parts))
    return Exited(answers, depths)


@torch.no_grad()
def exit_scores(handle: Handle, depths: list[int], criterion: Criterion, **inputs: Any) -> torch.Tensor:
    """Return the scores that decide on exits, for rows that run every block: to choose thresholds by.

    Args:
        handle: The handle of a model with a classification head.
        depths: Depths in [1, blocks].
        criterion: Which score.
        inputs: What the model takes, by name.

    Returns:
        float32 ``[rows, depths]``, in the order of ascending depths.

    Raises:
        SettingError: As for `classify_with_exits`.
    """
    _refuse_again(handle)
    batch = _Batch(handle, without_cache(handle, inputs))
    return torch.stack([batch.climb(depth, criterion)[1] for depth in checked_depths(handle, depths)], dim=1)


def similarity(before: torch.Tensor, after: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Return the cosine between hidden states before and after a block, for each row over its real positions.

    Args:
        before: ``[rows, length, hidden]``.
        after: Like ``before``.
        mask: Which positions are real, ``[rows, length]``; None where all are. A position that was dropped counts with
            the state that it kept.

    Returns:
        float32 ``[rows]``, in [-1, 1] but for rounding.
    """
    real = None if mask is None else mask.to(before.device, torch.float32)[..., None]
    one, other = (states.float() if real is None else states.float() * real for states in (before, after))
    return torch.nn.functional.cosine_similarity(one.flatten(1), other.flatten(1), dim=1)


def _refuse_again(handle: Handle) -> None:
    if handle.again() is not None:
        raise SettingError(
            "Rows that leave by a rule are read once.",
            given=", ".join(f"{dial}={value:g}" for dial, value in handle.settings.items()),
            mend="Turn the dial that reads them again to neutral, or let rows leave by the dial exit.",
        )


class _Batch:
    """The rows that are still in the model, and where they are."""

    def __init__(self, handle: Handle, inputs: dict[str, Any]) -> None:
        self._handle, self._inputs, self._protected = handle, inputs, handle.protected
        self.shape = shape_of(inputs)
        self.rows = torch.arange(self.shape[0])
        self._segment = Segment(stop=1)
        self._ground = True

    def climb(self, depth: int, criterion: Criterion) -> tuple[torch.Tensor, torch.Tensor]:
        """Go up to a depth; return logits ``[rows, classes]`` and scores ``[rows]`` there."""
        watch = frozenset({depth - 2, depth - 1} if criterion == "similarity" else {depth - 1})
        below = self._segment
        if self._ground:
            segment = Segment(depth, watch=watch)
        else:
            segment = Segment(depth, below.stop, below.left, below.path_after, watch=watch)
        # The protected positions of rows that left are left out, too.
        with self._handle.at(protect=self._protected), through(segment):
            logits = getattr(self._handle.model(**self._inputs), "logits", None)
        if logits is None or logits.ndim != 2:
            given = "no logits" if logits is None else f"logits of shape {tuple(logits.shape)}"
            raise SettingError("Rows leave a model that classifies them.", given=given)
        self._segment, self._ground = segment, False
        if criterion == "confidence":
            return logits, logits.float().softmax(-1).amax(-1)
        mask = self._inputs.get("attention_mask")
        return logits, similarity(segment.seen[depth - 2], segment.left, mask)

    def keep(self, rows: torch.Tensor) -> None:
        """Go on with some rows only."""
        segment, length = self._segment, self.shape[1]
        width = width_of(self._inputs, rows, length) if not segment.path_after else length
        states = segment.left.index_select(0, rows)[:, :width]
        path = tuple(step.of_rows(rows) for step in segment.path_after)
        self._segment = replace(segment, seen={segment.stop - 1: states}, path_after=path)
        if self._protected is not None:
            self._protected = self._protected.index_select(0, rows.to(self._protected.device))[:, :width]
        self._inputs = narrowed(self._inputs, rows, width)
        self.rows, self.shape = self.rows[rows.cpu()], (len(rows), width)
