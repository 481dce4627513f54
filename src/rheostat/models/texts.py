"""From texts to batches of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

__all__ = ["EncodedTexts", "encode_texts", "pad_rows"]

_PADDING_HINT = "Asking-to-pad-a-fast-tokenizer"


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """Texts as token ids, not yet padded.

    Attributes:
        rows: One mapping a text, ``input_ids`` and what else the model reads, each a list of the text's
            length.
        truncated: Which texts were longer than the limit and were cut.
    """

    rows: list[dict[str, list[int]]]
    truncated: list[bool]

    def __len__(self) -> int:
        return len(self.rows)


def encode_texts(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    max_length: int | None = None,
) -> EncodedTexts:
    """Turn texts, or pairs of texts, into token ids with the special tokens of the tokenizer.

    Args:
        tokenizer: The model's tokenizer.
        texts: The texts.
        pairs: The second text of each, of the same number; None where there is none.
        max_length: Most tokens a text, special ones included; the end of longer ones is cut (of a pair, the
            end of the longer text). None cuts nothing.
    """
    if not texts:
        return EncodedTexts([], [])
    second = list(pairs) if pairs is not None else None
    # verbose=False: the tokenizer would warn of long texts, which are counted here.
    encoded = tokenizer(
        list(texts),
        second,
        truncation=max_length is not None,
        max_length=max_length,
        padding=False,
        verbose=False,
    )
    names = list(encoded.keys())
    rows = [dict(zip(names, values, strict=True)) for values in zip(*(encoded[name] for name in names), strict=True)]
    return EncodedTexts(rows, _truncated(tokenizer, encoded, (texts, second), max_length))


def pad_rows(
    tokenizer: PreTrainedTokenizerBase, rows: Sequence[dict[str, list[int]]], width: int | None = None
) -> dict[str, torch.Tensor]:
    """Return the rows as tensors ``[batch, width]``, padded on the tokenizer's side; None for the longest."""
    hints = getattr(tokenizer, "deprecation_warnings", {})
    before = hints.get(_PADDING_HINT, False)
    # The hint says that encoding and padding in one call is faster: rows are encoded once and batched by
    # length here.
    hints[_PADDING_HINT] = True
    try:
        padding = True if width is None else "max_length"
        return dict(tokenizer.pad(list(rows), padding=padding, max_length=width, return_tensors="pt"))
    finally:
        hints[_PADDING_HINT] = before


def _truncated(
    tokenizer: PreTrainedTokenizerBase, encoded: Any, given: tuple[Any, Any], max_length: int | None
) -> list[bool]:
    lengths = [len(ids) for ids in encoded["input_ids"]]
    if max_length is None:
        return [False] * len(lengths)
    if encoded.encodings is not None:
        return [bool(encoding.overflowing) for encoding in encoded.encodings]
    whole = tokenizer(*given, truncation=False, padding=False, verbose=False)
    return [len(ids) > max_length for ids in whole["input_ids"]]
