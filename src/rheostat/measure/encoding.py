"""Texts as batches of token ids, the way a bundle reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from rheostat.core.errors import DataError
from rheostat.core.text import Split
from rheostat.models.texts import encode_texts, pad_rows

__all__ = ["batches", "device_of", "windows"]


def device_of(model: torch.nn.Module) -> torch.device:
    """Return the device of the model's first parameter, where its inputs go."""
    return next(model.parameters()).device


def batches(bundle: Any, split: Split, batch_size: int) -> Iterator[tuple[list[int], dict[str, torch.Tensor]]]:
    """Encode a split for a classifier as the bundle itself does, rows of like length together.

    Args:
        bundle: Its ``tokenizer``, ``max_length`` and ``model`` are used.
        split: The texts, with or without a second text each.
        batch_size: Rows of a batch at most; at least 1.

    Yields:
        The rows' numbers in the split, and the model's inputs on its device, each ``[rows, longest]``.
    """
    device = device_of(bundle.model)
    encoded = encode_texts(bundle.tokenizer, split.texts, split.pairs, bundle.max_length)
    order = sorted(range(len(encoded)), key=lambda row: -len(encoded.rows[row]["input_ids"]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = pad_rows(bundle.tokenizer, [encoded.rows[row] for row in rows])
        yield rows, {name: tensor.to(device) for name, tensor in batch.items()}


def windows(bundle: Any, split: Split, length: int, count: int) -> torch.Tensor:
    """Cut windows of equal length out of running texts, in order, without overlap within a text.

    Args:
        bundle: Its ``tokenizer`` and ``model`` are used.
        split: The texts.
        length: Tokens of a window, the one that starts every text included where the tokenizer writes one; at
            least 2.
        count: Windows wanted.

    Returns:
        Token ids on the model's device, int64 ``[at most count, length]``.

    Raises:
        DataError: If no text is that long.
    """
    start = _beginning(bundle.tokenizer)
    body = length - len(start)
    found: list[list[int]] = []
    answers = split.pairs or [""] * len(split)
    for text in map("".join, zip(split.texts, answers, strict=True)):
        # Hardly any token is longer than 40 characters on average: no need to read a whole book for a few
        # windows.
        part = text[: (count - len(found)) * length * 40]
        ids = bundle.tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"]
        found += [start + ids[at : at + body] for at in range(0, len(ids) - body + 1, body)]
        if len(found) >= count:
            break
    if not found:
        raise DataError(
            f"Measuring a language model needs a text of {length} tokens or more.",
            given=f"{len(split)} shorter texts",
            mend="Give longer texts, or ask for fewer tokens.",
        )
    return torch.tensor(found[:count], device=device_of(bundle.model))


def _beginning(tokenizer: Any) -> list[int]:
    """Return the token that the tokenizer writes before every text, in a list; empty where it writes none."""
    first = tokenizer("")["input_ids"][:1]
    return list(first) if first and first[0] == tokenizer.bos_token_id else []
