"""Batches of random tokens, and what one row gives by itself."""

from __future__ import annotations

from typing import Any

import torch

LENGTHS = (21, 13, 6)


def batch(side: str = "right", lengths: tuple[int, ...] = LENGTHS) -> dict[str, torch.Tensor]:
    """Token ids and attention mask of three texts, padded on one side."""
    generator = torch.Generator().manual_seed(3)
    width = max(lengths)
    ids = torch.zeros((len(lengths), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        at = slice(width - length, width) if side == "left" else slice(0, length)
        ids[row, at], mask[row, at] = torch.randint(3, 97, (length,), generator=generator), 1
    return {"input_ids": ids, "attention_mask": mask}


def texts(inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    """Each row without its padding, ``[1, tokens]``."""
    rows = zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    return [ids[mask.bool()][None] for ids, mask in rows]


def logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs).logits


def kept(handle: Any) -> list[int]:
    """How many states of the first row each block of the last forward kept."""
    return [len(block[0]) for block in handle.survivors()]
