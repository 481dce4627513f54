"""When a row or a token leaves the model early: thresholds, decisions, and thresholds for a wanted mean depth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from rheostat.core.errors import SettingError

__all__ = ["NEVER", "Criterion", "ExitRule", "calibrated_rule"]

Criterion = Literal["confidence", "similarity"]
"""What is compared with a threshold, both at most 1: the highest probability that the head gives at a depth (SoFT,
https://arxiv.org/abs/2309.08968), or the cosine between the hidden states before and after the last block
(MuE, https://arxiv.org/abs/2211.11152)."""

NEVER = 2.0
"""A threshold that nothing reaches."""


@dataclass(frozen=True, slots=True)
class ExitRule:
    """Leave at the first depth whose score reaches its threshold; else run every block.

    Attributes:
        thresholds: Depth to threshold; a score is at most 1, so one above never lets go.
        criterion: What is compared.

    Raises:
        SettingError: If a depth is no whole number from 1, a threshold no number, or there is no depth.

    Example:
        >>> rule = ExitRule({2: 0.9, 4: 0.8})
        >>> rule.depth([0.5, 0.85], blocks=6), rule.depth([0.5, 0.7], blocks=6)
        (4, 6)
    """

    thresholds: Mapping[int, float]
    criterion: Criterion = "confidence"

    def __post_init__(self) -> None:
        """Refuse what is unfit, and order the depths."""
        depths = list(self.thresholds)
        if not depths or any(isinstance(at, bool) or not isinstance(at, int) or at < 1 for at in depths):
            raise SettingError("An exit rule has thresholds for depths from 1 on, one or more.", given=depths)
        strange = [value for value in self.thresholds.values() if not isinstance(value, int | float) or value != value]
        if strange:
            raise SettingError("A threshold is a number.", given=strange)
        if self.criterion not in get_args(Criterion):
            raise SettingError(f"The criterion is one of {', '.join(get_args(Criterion))}.", given=self.criterion)
        object.__setattr__(self, "thresholds", {at: float(self.thresholds[at]) for at in sorted(depths)})

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths at which it may let go, ascending."""
        return tuple(self.thresholds)

    def lets_go(self, depth: int, score: float) -> bool:
        """Whether a score is high enough to leave at a depth."""
        return score >= self.thresholds[depth]

    def depth(self, scores: Sequence[float], *, blocks: int) -> int:
        """Return the depth at which something leaves that has these scores at the rule's depths."""
        pairs = zip(self.depths, scores, strict=True)
        return next((depth for depth, score in pairs if self.lets_go(depth, score)), blocks)

    def mean_depth(self, scores: Sequence[Sequence[float]], *, blocks: int) -> float:
        """Return the mean depth over rows of scores.

        Raises:
            SettingError: If there are no rows.
        """
        if not scores:
            raise SettingError("A mean depth is that of one row or more.")
        return sum(self.depth(row, blocks=blocks) for row in scores) / len(scores)

    def to_json(self) -> dict[str, Any]:
        """Return the rule as plain data."""
        return {
            "criterion": self.criterion,
            "thresholds": {str(depth): value for depth, value in self.thresholds.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExitRule:
        """Read back what `to_json` returned."""
        return cls({int(depth): value for depth, value in data["thresholds"].items()}, data["criterion"])


def calibrated_rule(
    scores: Sequence[Sequence[float]], depths: Sequence[int], *, blocks: int, target: float, criterion: Criterion
) -> ExitRule:
    """Choose thresholds for a mean depth, by one rule for all depths.

    At every depth the same share of what arrives there leaves, that with the highest scores; the threshold is the
    lowest score among them. The share is the largest at which the mean depth over the given scores is not below the
    target (bisection). Right answers play no part, so that no labels are needed; use validation texts.

    Args:
        scores: For each row, its score at each depth.
        depths: The depths, ascending, each in [1, blocks).
        blocks: Blocks of the model.
        target: Wanted mean depth, in [lowest depth, blocks].
        criterion: What the scores are.

    Raises:
        SettingError: If the target is out of range, or there are no rows.

    Example:
        >>> rows = [[0.9, 0.9], [0.8, 0.9], [0.7, 0.8], [0.6, 0.7]]
        >>> rule = calibrated_rule(rows, [2, 4], blocks=6, target=3.5, criterion="confidence")
        >>> rule.mean_depth(rows, blocks=6)
        3.5
    """
    if not scores or not depths or not depths[0] <= target <= blocks:
        raise SettingError(
            "A mean depth lies between the lowest depth and the number of blocks, over one row or more.",
            given=f"{target} for depths {list(depths)} of {blocks} blocks, {len(scores)} rows",
        )
    low, high = 0.0, 1.0
    best = _rule(scores, depths, low, criterion)
    if _rule(scores, depths, high, criterion).mean_depth(scores, blocks=blocks) >= target:
        low = high
        best = _rule(scores, depths, high, criterion)
    while high - low > 0.1 / len(scores) ** 2:
        middle = (low + high) / 2
        tried = _rule(scores, depths, middle, criterion)
        if tried.mean_depth(scores, blocks=blocks) >= target:
            low, best = middle, tried
        else:
            high = middle
    return best


def _rule(scores: Sequence[Sequence[float]], depths: Sequence[int], share: float, criterion: Criterion) -> ExitRule:
    """Return the rule under which a share of what arrives leaves at each depth."""
    thresholds: dict[int, float] = {}
    there = list(scores)
    for place, depth in enumerate(depths):
        leaving = math.floor(share * len(there) + 1e-9)
        ordered = sorted((row[place] for row in there), reverse=True)
        thresholds[depth] = ordered[leaving - 1] if leaving else NEVER
        there = [row for row in there if row[place] < thresholds[depth]]
    return ExitRule(thresholds, criterion)
