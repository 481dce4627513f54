"""Prompts read under the dials, and what follows them read at neutral: how a language model is judged.

Inside one forward under pruning a token that was dropped has no state of full depth, so that its logits say nothing
about the model. What is judged is therefore read as in generation: the prompt fills the key-value cache under the
dials, and the continuation is read on that cache at neutral, where no state of a new token is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

import torch

from rheostat.core.dial import checked_settings
from rheostat.core.errors import MeasurementError
from rheostat.measure.encoding import device_of

__all__ = ["Score", "Subject", "continuation_logits", "is_neutral", "pad", "score_continuations", "turned"]

_PIECE: Final = 512
"""Tokens of a continuation that are read at a time."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to judge, where there is no bundle.

    Attributes:
        model: A Transformers model in evaluation mode.
        tokenizer: Its tokenizer.
        handle: What turns its dials; None for a model that wears nothing.
        max_length: How many tokens of a text a classifier reads; None for all.
    """

    model: Any
    tokenizer: Any
    handle: Any = None
    max_length: int | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a model finds a continuation.

    Attributes:
        loglikelihood: Natural logarithm of its probability, summed over its tokens.
        greedy: Whether each of its tokens is the likeliest one.
    """

    loglikelihood: float
    greedy: bool


def turned(subject: Any, settings: Mapping[str, float] | None = None) -> AbstractContextManager[Any]:
    """Return a context in which dials are turned; without a handle there is none to turn.

    Raises:
        SettingError: If nobody knows a dial, or a value is out of range.
    """
    if subject.handle is None:
        checked_settings((), settings or {})
        return nullcontext()
    context: AbstractContextManager[Any] = subject.handle.at(**(settings or {}))
    return context


def is_neutral(subject: Any, settings: Mapping[str, float] | None = None) -> bool:
    """Say whether the model is the plain one as far as dials go, at settings over those in force.

    Raises:
        SettingError: If nobody knows a dial, or a value is out of range.
    """
    with turned(subject, settings):
        return subject.handle is None or subject.handle.settings == _neutral(subject)


def continuation_logits(
    subject: Any,
    prompts: torch.Tensor,
    continuation: torch.Tensor,
    settings: Mapping[str, float] | None = None,
    *,
    mask: torch.Tensor | None = None,
) -> torch.Tensor:
    """Read prompts under the dials, then what follows them at neutral.

    Args:
        subject: Its ``model`` and ``handle`` are used.
        prompts: Token ids, int64 ``[batch, prompt]``, padded on the left where they differ in length.
        continuation: Token ids, int64 ``[batch, continuation]``, padded on the right.
        settings: Dials to turn for the prompts.
        mask: Which tokens of the prompts are real, int64 or bool ``[batch, prompt]``; None where all are.

    Returns:
        The logits for each token of the continuation, ``[batch, continuation, vocabulary]``, in the model's precision.
    """
    return torch.cat(list(_pieces(subject, (prompts, mask), continuation, settings)), dim=1)


def score_continuations(
    subject: Any,
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
    settings: Mapping[str, float] | None = None,
    *,
    batch_size: int,
) -> Iterator[tuple[int, Score]]:
    """Say how likely a model finds continuations after prompts read under its dials.

    Args:
        subject: Its ``model`` and ``handle`` are used.
        pairs: Token ids of a prompt and of its continuation, neither empty.
        settings: Dials to turn for the prompts.
        batch_size: Pairs at a time at most; those of like length go together.

    Yields:
        The number of a pair and its score, longest pairs first.

    Raises:
        MeasurementError: If a prompt or a continuation is empty.
    """
    empty = [number for number, (prompt, more) in enumerate(pairs) if not prompt or not more]
    if empty:
        raise MeasurementError("A prompt and its continuation have a token or more each.", given=f"pair {empty[0]}")
    order = sorted(range(len(pairs)), key=lambda number: [-len(part) for part in pairs[number]])
    for start in range(0, len(order), batch_size):
        numbers = order[start : start + batch_size]
        scores = _scores(subject, [pairs[number] for number in numbers], settings)
        yield from zip(numbers, scores, strict=True)


def _scores(
    subject: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], settings: Mapping[str, float] | None
) -> list[Score]:
    device = device_of(subject.model)
    prompts, mask = pad([prompt for prompt, _ in pairs], "left", device)
    targets, real = pad([more for _, more in pairs], "right", device)
    sums, misses, start = torch.zeros(len(pairs), device=device), torch.zeros_like(real[:, 0]), 0
    for logits in _pieces(subject, (prompts, mask), targets, settings):
        part = slice(start, start + logits.shape[1])
        wanted, counts = targets[:, part], real[:, part]
        losses = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), wanted, reduction="none")
        sums -= (losses * counts).sum(1)
        misses += ((logits.argmax(-1) != wanted) * counts).sum(1)
        start = part.stop
    return [Score(total, missed == 0) for total, missed in zip(sums.tolist(), misses.tolist(), strict=True)]


def _pieces(
    subject: Any,
    prompts: tuple[torch.Tensor, torch.Tensor | None],
    continuation: torch.Tensor,
    settings: Mapping[str, float] | None,
) -> Iterator[torch.Tensor]:
    """Yield the logits for the tokens of a continuation, ``[batch, piece, vocabulary]``: the first alone, then more."""
    ids, mask = prompts
    columns = ids.shape[1] + continuation.shape[1] - 1
    padded = {} if mask is None else _padded(mask, columns)
    with torch.inference_mode(), turned(subject, settings):
        read = subject.model(ids, use_cache=True, logits_to_keep=1, **_part(padded, 0, ids.shape[1]))
    yield read.logits
    cache, start = read.past_key_values, ids.shape[1]
    # A piece at a time: the logits of a long text over a vocabulary of 262,144 would take 1 MiB a token.
    for piece in torch.split(continuation[:, :-1], _PIECE, dim=1) if continuation.shape[1] > 1 else ():
        stop = start + piece.shape[1]
        with torch.inference_mode(), turned(subject, _neutral(subject)):
            logits = subject.model(piece, past_key_values=cache, use_cache=True, **_part(padded, start, stop)).logits
        yield logits
        start = stop


def pad(rows: Sequence[Sequence[int]], side: str, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return rows of token ids as one tensor, and which of them are real.

    Args:
        rows: Token ids; at least one row.
        side: ``"left"`` or ``"right"``: where shorter rows are filled up, with zeros.
        device: Where the tensors go.

    Returns:
        Ids and mask, int64 ``[rows, longest]`` each.
    """
    longest = max(len(row) for row in rows)
    fill = [[0] * (longest - len(row)) for row in rows]
    ones = [[1] * len(row) for row in rows]
    joined = [
        [[*gap, *row] if side == "left" else [*row, *gap] for gap, row in zip(fill, part, strict=True)]
        for part in (rows, ones)
    ]
    ids, mask = (torch.tensor(part, dtype=torch.int64, device=device) for part in joined)
    return ids, mask


def _padded(mask: torch.Tensor, columns: int) -> dict[str, torch.Tensor]:
    """Return mask and positions of prompts padded on the left and of what follows, ``[batch, columns]`` each."""
    whole = torch.cat([mask, mask.new_ones(mask.shape[0], columns - mask.shape[1])], dim=1)
    return {"attention_mask": whole, "position_ids": (whole.cumsum(1) - 1).clamp(min=0)}


def _part(padded: Mapping[str, torch.Tensor], start: int, stop: int) -> dict[str, torch.Tensor]:
    """Return what a forward over some columns is told of padding: a mask up to them, positions of their own."""
    if not padded:
        return {}
    return {
        "attention_mask": padded["attention_mask"][:, :stop],
        "position_ids": padded["position_ids"][:, start:stop],
    }


def _neutral(subject: Any) -> dict[str, float]:
    return {} if subject.handle is None else {dial.name: dial.neutral for dial in subject.handle.dials}
