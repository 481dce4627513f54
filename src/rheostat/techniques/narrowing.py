"""Some rows of a batch, as the inputs of a smaller forward."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from rheostat.core.errors import SettingError

__all__ = ["narrowed", "shape_of", "width_of"]


def shape_of(inputs: Mapping[str, Any]) -> tuple[int, int]:
    """Return the rows and columns of a forward's inputs.

    Raises:
        SettingError: If there are neither ids nor embeddings.
    """
    first = inputs.get("input_ids") if inputs.get("input_ids") is not None else inputs.get("inputs_embeds")
    if first is None:
        raise SettingError("A forward needs input_ids or inputs_embeds.")
    return int(first.shape[0]), int(first.shape[1])


def width_of(inputs: Mapping[str, Any], rows: torch.Tensor, length: int) -> int:
    """Return how many of ``length`` columns some rows need: those at the end that only hold padding are not."""
    mask = inputs.get("attention_mask")
    if not isinstance(mask, torch.Tensor) or mask.ndim != 2:
        return length
    real = mask.index_select(0, rows.to(mask.device)).any(0).nonzero()
    return int(real[-1]) + 1 if len(real) else 1


def narrowed(inputs: Mapping[str, Any], rows: torch.Tensor, width: int) -> dict[str, Any]:
    """Return the inputs of some rows, and of their first ``width`` columns.

    Args:
        inputs: What a forward takes, by name; what is no tensor ``[rows, ...]`` stays as it is.
        rows: Which rows, int64 ``[rows]``.
        width: How many columns.
    """
    batch, length = shape_of(inputs)
    found = {}
    for name, value in inputs.items():
        if isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == batch:
            value = value.index_select(0, rows.to(value.device))
        if isinstance(value, torch.Tensor) and value.ndim > 1 and value.shape[1] == length:
            value = value[:, :width]
        found[name] = value
    return found
