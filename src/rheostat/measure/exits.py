"""Exits on real texts: thresholds for a wanted mean depth, and what they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from rheostat.bundle.decoding import refuse_depth
from rheostat.bundle.exits import SavedExits, weights_of
from rheostat.core.errors import SettingError
from rheostat.core.exits import Criterion, ExitRule, calibrated_rule
from rheostat.core.text import Split
from rheostat.measure.encoding import batches, windows
from rheostat.techniques.depths import blocks_of, checked_depths
from rheostat.techniques.row_exits import Exited, classify_with_exits, exit_scores
from rheostat.techniques.token_exits import token_exit_scores

if TYPE_CHECKING:
    from rheostat.bundle import Bundle

__all__ = ["calibrate_exits", "choose_exits", "classify_split"]

WINDOW = 128
"""Tokens of a window of running text on which a language model's exits are chosen."""

WINDOWS = 64
"""How many of them at most: 8,192 positions."""


def choose_exits(
    bundle: Bundle,
    split: Split,
    depths: Sequence[int],
    mean_depth: float,
    *,
    criterion: Criterion = "confidence",
    name: str = "validation",
) -> SavedExits:
    """Choose thresholds for a bundle, ready for `rheostat.bundle.write_exits`.

    A classifier's rows leave; of a language model, whose tokens leave, every position of running text counts. What a
    language model writes by itself is another text, so that its mean depth there differs somewhat.

    Args:
        bundle: A bundle. A classifier's dials stay as they are; those of a language model are at neutral.
        split: Validation texts; labels are not looked at. Choose nothing on the test split.
        depths: Depths at which something may leave, each in [1, blocks).
        mean_depth: Wanted mean depth, in [lowest depth, blocks].
        criterion: What decides.
        name: What the split is called.

    Raises:
        SettingError: If a depth, the mean depth or the criterion is out of range, or a dial is turned that may not be.
        DataError: If no text is long enough for a language model.
    """
    blocks, wanted = blocks_of(bundle.handle), checked_depths(bundle.handle, depths)
    if wanted[-1] == blocks:
        raise SettingError(f"Something leaves early below the last of {blocks} blocks.", given=list(wanted))
    # An unknown criterion is refused before minutes of work.
    ExitRule({wanted[0]: 1.0}, criterion)
    refuse_depth(bundle.handle)
    settings = bundle.handle.settings
    if bundle.task == "classification":
        scores = _row_scores(bundle, split, list(wanted), criterion, 16)
    elif settings == bundle.handle.neutral():
        scores = _token_scores(bundle, split, wanted, criterion)
    else:
        raise SettingError(
            "A language model's exits are chosen at neutral: what it writes after a pruned prompt is never pruned.",
            given=", ".join(f"{dial}={value:g}" for dial, value in settings.items()),
            mend="Leave the settings out; they are for reading the prompt.",
        )
    rule = calibrated_rule(scores, wanted, blocks=blocks, target=mean_depth, criterion=criterion)
    return SavedExits(
        rule,
        blocks,
        float(mean_depth),
        rule.mean_depth(scores, blocks=blocks),
        {dial: value for dial, value in settings.items() if dial not in ("depth", *bundle.handle.once())},
        {"split": name, "rows": len(scores)},
        weights_of(bundle.manifest),
    )


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
    scores = _row_scores(bundle, split, wanted, criterion, batch_size)
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


def _row_scores(
    bundle: Bundle, split: Split, depths: list[int], criterion: Criterion, batch_size: int
) -> list[list[float]]:
    scores: list[list[float]] = []
    for _, inputs in batches(bundle, split, batch_size):
        scores += exit_scores(bundle.handle, depths, criterion, **inputs).tolist()
    return scores


def _token_scores(bundle: Bundle, split: Split, depths: Sequence[int], criterion: Criterion) -> list[list[float]]:
    scores: list[list[float]] = []
    # One window at a time: logits over a large vocabulary are what takes memory.
    for window in windows(bundle, split, WINDOW, WINDOWS).split(1):
        scores += token_exit_scores(bundle.handle, depths, criterion, window).tolist()
    return scores
