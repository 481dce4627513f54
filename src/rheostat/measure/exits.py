"""Exits of a classifier on real texts: thresholds for a wanted mean depth, and what they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from rheostat.core.exits import Criterion, ExitRule, calibrated_rule
from rheostat.core.text import Split
from rheostat.measure.encoding import batches
from rheostat.techniques.depths import blocks_of, checked_depths
from rheostat.techniques.row_exits import Exited, classify_with_exits, exit_scores

if TYPE_CHECKING:
    from rheostat.bundle import Bundle

__all__ = ["calibrate_exits", "classify_split"]


def calibrate_exits(
    bundle: Bundle,
    split: Split,
    depths: Sequence[int],
    mean_depth: float,
    *,
    criterion: Criterion = "confidence",
    batch_size: int = 16,
) -> ExitRule:
    """Choose thresholds at which a classifier goes so deep on average; see `rheostat.core.exits.calibrated_rule`.

    Args:
        bundle: A bundle for classification; its dials stay as they are: pruned rows get thresholds of their own.
        split: Validation texts; labels are not looked at. Choose nothing on the test split.
        depths: Depths at which a row may leave, each in [1, blocks).
        mean_depth: Wanted mean depth, in [lowest depth, blocks].
        criterion: What decides.
        batch_size: Rows of a batch.

    Raises:
        SettingError: If a depth or the mean depth is out of range.
    """
    wanted = list(checked_depths(bundle.handle, depths))
    scores: list[list[float]] = []
    for _, inputs in batches(bundle, split, batch_size):
        scores += exit_scores(bundle.handle, wanted, criterion, **inputs).tolist()
    return calibrated_rule(scores, wanted, blocks=blocks_of(bundle.handle), target=mean_depth, criterion=criterion)


def classify_split(bundle: Bundle, split: Split, rule: ExitRule, *, batch_size: int = 16) -> Exited:
    """Classify texts with exits.

    Args:
        bundle: A bundle for classification.
        split: The texts.
        rule: When a row leaves.
        batch_size: Rows of a batch.

    Returns:
        Logits and depth of each row, in the order of the split.
    """
    rows: list[int] = []
    found: list[Exited] = []
    for chosen, inputs in batches(bundle, split, batch_size):
        rows += chosen
        found.append(classify_with_exits(bundle.handle, rule, **inputs))
    order = torch.tensor(rows).argsort()
    logits, depths = torch.cat([part.logits for part in found]), torch.cat([part.depths for part in found])
    return Exited(logits[order.to(logits.device)], depths[order])
