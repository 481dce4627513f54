"""The token dial: drop the least-attended hidden states, block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

import torch

from rheostat.core.dial import Dial
from rheostat.core.knob import Knob
from rheostat.models.flow import Cut
from rheostat.techniques.contract import Cutting
from rheostat.techniques.inference.scorers import SCORERS, make_scorer

__all__ = ["TokenPruning"]

_PROTECT = {
    "none": (False, False),
    "first": (True, False),
    "last": (False, True),
    "both": (True, True),
}


@final
@dataclass(frozen=True, slots=True)
class TokenPruning(Cutting):
    """Zero-Shot Adjustable Acceleration: between attention and feed-forward, each block drops what is attended least.

    Block l keeps, of each row, ``min(n, max(ceil(tokens x N_{l-1}), floor))`` hidden states, n being the row's real
    tokens in this forward. With another decay than 1, ``tokens ** (l ** decay - (l - 1) ** decay)`` stands there for
    ``tokens``, so that about ``n x tokens ** (l ** decay)`` are left. Kept states stay in order and at their original
    positions. After the last block the hidden states are back at full length, each dropped one as it was when it was
    dropped. With an entry above 0, a part of the cut is made before the first block: about ``n x tokens ** entry``
    states enter it, and the blocks keep ``tokens ** (1 - entry)`` in place of ``tokens``. Those enter whose token ids
    say most about the task (`rheostat.train.salience`), or, of a prompt that is to be continued, those at its ends.

    Source: https://arxiv.org/abs/2509.01190. Deviations: the ceiling; some positions are never dropped; padding neither
    scores nor counts; the decay; the entry.

    Attributes:
        floor: Least number of states a block keeps of a row, at least 1.
        scorer: Who ranks the states; see `rheostat.techniques.inference.scorers`.
        protect: Which ends of a row are never dropped: ``"auto"`` (the last real token of a decoder, which speaks for
            the row; the first of an encoder), ``"first"``, ``"last"``, ``"both"`` or ``"none"``.
        decay: How the cut is spread over the blocks, at least 0: 1 as in the paper, every block the same; below 1 the
            first block cuts deepest, and later ones leave more of what it kept.
        entry: Which part of the cut, in its exponent, is made before the first block, in [0, 1].
        entry_scorer: Who ranks the tokens there: ``"salience"``, for which the model needs a table that a training for
            classification makes, or ``"ends"``: of what enters, a fifth comes from the row's beginning, the rest from
            its end, and one stretch between them goes. Where `rheostat.techniques.Handle.at` protects tokens, these
            are the ends of what is not protected.

    Raises:
        SettingError: If a setting is unfit.

    Example:
        >>> TokenPruning(floor=8, scorer="mean")
        TokenPruning(floor=8, scorer='mean', protect='auto', decay=1.0, entry=0.0, entry_scorer='salience')
    """

    floor: int = 5
    scorer: str = "attention"
    protect: str = "auto"
    decay: float = 1.0
    entry: float = 0.0
    entry_scorer: str = "salience"

    name: ClassVar[str] = "tokens"
    stage: ClassVar[Literal["inference"]] = "inference"
    summary: ClassVar[str] = "drop the least-attended hidden states, block by block"
    dials: ClassVar[tuple[Dial, ...]] = (
        Dial("tokens", "keep rate of a block", 0.0, 1.0, neutral=1.0, moves="request", open_low=True),
    )
    knobs: ClassVar[tuple[Knob, ...]] = (
        Knob("floor", "least number of states a block keeps of a row", 5, low=1),
        Knob("scorer", "who ranks the states", "attention", choices=tuple(SCORERS)),
        Knob("protect", "which ends of a row are never dropped", "auto", choices=("auto", *_PROTECT)),
        Knob("decay", "how the cut is spread over the blocks: 1 evenly, below 1 early", 1.0, low=0.0, high=4.0),
        Knob("entry", "part of the cut that is made before the first block", 0.0, low=0.0, high=1.0),
        Knob("entry_scorer", "who ranks the tokens there", "salience", choices=("salience", "ends")),
    )

    def cut(self, settings: Mapping[str, float], *, decoder: bool, marked: torch.Tensor | None = None) -> Cut:
        """Return what a forward at this keep rate drops."""
        ends = ("last" if decoder else "first") if self.protect == "auto" else self.protect
        first, last = _PROTECT[ends]
        scorer = make_scorer(self.scorer)
        return Cut(
            settings["tokens"], self.floor, scorer, first, last, marked, self.decay, self.entry, self.entry_scorer
        )
