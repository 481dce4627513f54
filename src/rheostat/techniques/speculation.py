"""Self-speculative decoding: the first blocks of a model draft, all of them verify."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from rheostat.core.errors import SettingError
from rheostat.techniques.depths import blocks_of, checked_depths
from rheostat.techniques.handle import Handle
from rheostat.techniques.ladder import Ladder

__all__ = ["Speculated", "end_tokens", "speculate"]

FIRST_DRAFT = 4
"""Tokens of the first draft, as in SoFT."""


@dataclass(frozen=True, slots=True)
class Speculated:
    """What was written, and how well the drafts did.

    Attributes:
        tokens: The new tokens, int64 ``[1, written]``.
        rounds: For each round the tokens drafted, and how many of them the whole model would have written, too.
    """

    tokens: torch.Tensor
    rounds: tuple[tuple[int, int], ...]

    @property
    def acceptance(self) -> float:
        """Share of drafted tokens that were kept; 0 where none was drafted."""
        drafted = sum(count for count, _ in self.rounds)
        return sum(kept for _, kept in self.rounds) / drafted if drafted else 0.0


@torch.no_grad()
def speculate(
    handle: Handle,
    input_ids: torch.Tensor,
    *,
    depth: int,
    max_new_tokens: int = 64,
    draft: int = FIRST_DRAFT,
    eos_token_id: int | Iterable[int] | None = None,
) -> Speculated:
    """Continue a prompt greedily with the whole model's own words, drafted by its first blocks.

    The first ``depth`` blocks write a draft of K tokens; the blocks above then run once over all K saved states, and
    what they answer decides: the draft is kept up to the first token that the whole model would not have written, which
    is replaced by the one that it would have. Every block runs once for each drafted token. K grows by 2 where the
    whole draft was kept, and shrinks by 1 otherwise. It pays where blocks near the bottom guess well (after training at
    several depths), and is slower than plain decoding where they do not.

    What Transformers' ``assistant_early_exit`` lacks (5.23, ``EarlyExitCandidateGenerator``): its draft has a cache of
    its own, and all blocks verify, so that those below run twice for each drafted token (a tiny Llama of 4 blocks, 2 of
    them drafting, 38 tokens read: 75, 75, 38 and 38 go through the blocks; here 38 through each). It turns the model's
    configuration down while it drafts, for every thread, and leaves it so after an error. GPT-2, whose forward does not
    look there, fails with an IndexError. It rolls the cache back, so that a pruned prompt is refused. It can sample;
    this cannot.

    Source: https://arxiv.org/abs/2309.08968, section 3.3 (SoFT). Deviation: K is adapted by the rule above, which the
    paper does not state.

    Args:
        handle: The handle of a language model. The prompt is read at the settings of its other dials.
        input_ids: Token ids ``[1, length]``, without padding.
        depth: Blocks that draft, from 1, fewer than all.
        max_new_tokens: Most tokens that are written, from 1.
        draft: Tokens of the first draft, from 1.
        eos_token_id: Token or tokens after which writing ends; None for the model's own, an empty list for none.

    Returns:
        Token for token what the whole model writes greedily, as far as its arithmetic does not depend on how many
        tokens are run at once; no logits processor is applied.

    Raises:
        SettingError: If a number is out of range, or there is more than one prompt.
        UnsupportedModelError: If the model is no language model.

    Example:
        >>> written = speculate(handle, ids, depth=6)  # doctest: +SKIP
        >>> written.acceptance  # doctest: +SKIP
        0.71
    """
    (depth,) = checked_depths(handle, [depth])
    blocks = blocks_of(handle)
    if depth >= blocks or draft < 1 or max_new_tokens < 1:
        raise SettingError(
            f"A draft is made by fewer than the {blocks} blocks; it and the text have a token or more.",
            given=f"depth={depth}, draft={draft}, max_new_tokens={max_new_tokens}",
        )
    ends = end_tokens(handle, eos_token_id)
    ladder = Ladder(handle, input_ids)
    written = [int(ladder.logits.argmax())]
    rounds: list[tuple[int, int]] = []
    while len(written) < max_new_tokens and written[-1] not in ends:
        size = min(draft, max_new_tokens - len(written))
        drafted = _draft(ladder, written[-1], size, depth, input_ids)
        answers = ladder.lift(blocks, answers=size)[0][0].argmax(-1).tolist()
        kept = next((at for at in range(size) if drafted[at] != answers[at]), size)
        rounds.append((size, kept))
        draft = draft + 2 if kept == size else max(1, draft - 1)
        ladder.drop(size - min(kept + 1, size))
        written += answers[: min(kept + 1, size)]
        written = _ended(written, ends)
    return Speculated(torch.tensor([written], device=input_ids.device), tuple(rounds))


def end_tokens(handle: Handle, eos_token_id: int | Iterable[int] | None) -> frozenset[int]:
    """Return the tokens after which writing ends; the model's own where None is given."""
    model: Any = handle.model
    given = model.generation_config.eos_token_id if eos_token_id is None else eos_token_id
    if given is None:
        return frozenset()
    return frozenset([given] if isinstance(given, int) else given)


def _draft(ladder: Ladder, last: int, size: int, depth: int, like: torch.Tensor) -> list[int]:
    """Write ``size`` tokens with the first blocks, after one that has gone through none."""
    drafted = [last]
    for _ in range(size):
        ladder.push(like.new_tensor([[drafted[-1]]]))
        drafted.append(int(ladder.lift(depth)[0].argmax()))
    return drafted[1:]


def _ended(written: list[int], ends: frozenset[int]) -> list[int]:
    end = next((at for at, token in enumerate(written) if token in ends), len(written))
    return written[: end + 1]
