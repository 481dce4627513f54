"""Exits for language models: each token is written by as many blocks as it needs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from rheostat.core.errors import SettingError
from rheostat.core.exits import Criterion, ExitRule
from rheostat.core.ledger import Ledger
from rheostat.techniques.depths import blocks_of, checked_depths, climb, without_cache
from rheostat.techniques.handle import Handle
from rheostat.techniques.ladder import Fill, Ladder
from rheostat.techniques.speculation import end_tokens

__all__ = ["Written", "generate_with_exits", "token_exit_scores"]


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, and how deep the model went for it.

    Attributes:
        tokens: The new tokens, int64 ``[1, written]``.
        depths: Blocks that answered for each of them; the first one is the prompt's, which goes through all.
        ledger: What each block's cache holds of each column. The last token was not read.
    """

    tokens: torch.Tensor
    depths: tuple[int, ...]
    ledger: Ledger

    @property
    def mean_depth(self) -> float:
        """Mean over the new tokens."""
        return sum(self.depths) / len(self.depths)


@torch.no_grad()
def generate_with_exits(
    handle: Handle,
    rule: ExitRule,
    input_ids: torch.Tensor,
    *,
    max_new_tokens: int = 64,
    fill: Fill = "exact",
    eos_token_id: int | Iterable[int] | None = None,
) -> Written:
    """Continue a prompt greedily, each token from the first depth whose score reaches its threshold.

    A token that leaves early has no keys and values in the blocks above. By default they are made when a later token
    goes there, exactly, for all tokens that lack them in one pass: then each token is the one that the model of its
    depth would write after the same text without any cache. ``"project"`` and ``"copy"`` spare that pass.

    Sources: https://arxiv.org/abs/2309.08968 (SoFT: confidence; its "adaptive caching" is not described),
    https://arxiv.org/abs/2211.11152 (MuE: similarity, and copying). Deviations: depths are chosen for a token, not a
    batch; the prompt goes through every block; "project" runs a block's whole attention half on the state, though its
    keys and values alone are kept, so that it works in every family.

    Args:
        handle: The handle of a language model. The prompt is read at the settings of its other dials, so that it may be
            pruned.
        rule: When a token leaves; the model's last block is passed by all that do not.
        input_ids: Token ids ``[1, length]``, without padding.
        max_new_tokens: Most tokens that are written, from 1.
        fill: What the blocks above a token's depth hold of it.
        eos_token_id: Token or tokens after which writing ends; None for the model's own, an empty list for none.

    Raises:
        SettingError: If a number is out of range, or there is more than one prompt.
        UnsupportedModelError: If the model is no language model.

    Example:
        >>> written = generate_with_exits(handle, ExitRule({12: 0.9}), ids)  # doctest: +SKIP
        >>> written.mean_depth, written.ledger.counts()[-1]  # doctest: +SKIP
    """
    blocks = blocks_of(handle)
    path = checked_depths(handle, {*rule.depths, blocks})
    if fill not in ("exact", "project", "copy") or max_new_tokens < 1:
        raise SettingError(
            "A token is written or more, and fill is exact, project or copy.",
            given=f"max_new_tokens={max_new_tokens}, fill={fill!r}",
        )
    ends, ladder = end_tokens(handle, eos_token_id), Ladder(handle, input_ids)
    written, depths = [int(ladder.logits.argmax())], [blocks]
    while len(written) < max_new_tokens and written[-1] not in ends:
        ladder.push(input_ids.new_tensor([[written[-1]]]))
        token, depth = _next(ladder, rule, path)
        ladder.fill(fill)
        written.append(token)
        depths.append(depth)
    return Written(torch.tensor([written], device=input_ids.device), tuple(depths), ladder.ledger)


@torch.no_grad()
def token_exit_scores(
    handle: Handle, depths: Iterable[int], criterion: Criterion, input_ids: torch.Tensor
) -> torch.Tensor:
    """Return the scores that decide on exits at every position of whole texts: to choose thresholds by.

    Args:
        handle: The handle of a language model.
        depths: Depths in [1, blocks].
        criterion: Which score.
        input_ids: Validation texts, ``[rows, length]``, without padding.

    Returns:
        float32 ``[rows * length, depths]``, in the order of ascending depths; see
        `rheostat.core.exits.calibrated_rule`.
    """
    inputs, found = without_cache(handle, {"input_ids": input_ids}), []
    for depth, segment in climb(checked_depths(handle, depths)):
        segment.watch = frozenset({depth - 2, depth - 1})
        logits = handle.model(**inputs).logits
        found.append(_scores(criterion, logits, segment.seen[depth - 2], segment.left).flatten())
    return torch.stack(found, dim=1)


def _next(ladder: Ladder, rule: ExitRule, path: tuple[int, ...]) -> tuple[int, int]:
    """Return the token that comes next, and the depth that says so."""
    for depth in path:
        logits, before, after = ladder.lift(depth)
        if depth == path[-1] or rule.lets_go(depth, float(_scores(rule.criterion, logits, before, after))):
            return int(logits.argmax()), depth
    raise AssertionError("a path ends at the last block")


def _scores(criterion: Criterion, logits: torch.Tensor, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    if criterion == "confidence":
        return logits.float().softmax(-1).amax(-1)
    return torch.nn.functional.cosine_similarity(before.float(), after.float(), dim=-1)
