"""Classifiers that are read twice: rows whose first answer is unsure get a second one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from rheostat.core.errors import SettingError
from rheostat.models.families import locate
from rheostat.models.segment import Everything, Ran, Reread
from rheostat.techniques.contract import Again
from rheostat.techniques.depths import without_cache
from rheostat.techniques.narrowing import narrowed, shape_of, width_of

if TYPE_CHECKING:
    from rheostat.techniques.handle import Handle

__all__ = ["read_twice"]


@torch.no_grad()
def read_twice(handle: Handle, again: Again, inputs: Mapping[str, Any]) -> torch.Tensor:
    """Classify a batch, and the rows that are unsure of their answer again, at other dial settings.

    A row's answer is that of the model in its last reading, whoever else is in the batch.

    Args:
        handle: The handle of a model with a classification head, which wears a technique of the kind `Rereading`.
        again: Which rows are read again, and how.
        inputs: What the model takes, by name.

    Returns:
        Logits ``[rows, classes]``.

    Raises:
        SettingError: If the model gives no such logits.
    """
    given = without_cache(handle, inputs)
    with handle.at(protect=None, **handle.once()):
        logits = _logits(handle, given)
        first = _went_on(handle, given)
        unsure = (logits.float().softmax(-1).amax(-1) < again.below).nonzero()[:, 0]
        if not len(unsure):
            return logits
        width = width_of(given, unsure, shape_of(given)[1])
        some = narrowed(given, unsure, width)
        protect = handle.protected
        if protect is not None:
            protect = protect.index_select(0, unsure.to(protect.device))[:, :width]
        with handle.at(protect=protect, **again.settings):
            logits = logits.index_copy(0, unsure, _logits(handle, some).to(logits.dtype))
            second = _went_on(handle, some)
    handle.went_on = Reread(first, tuple(unsure.tolist()), second)
    return logits


def _logits(handle: Handle, inputs: Mapping[str, Any]) -> torch.Tensor:
    logits = getattr(handle.model(**inputs), "logits", None)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2:
        given = "no logits" if logits is None else f"logits of shape {tuple(logits.shape)}"
        raise SettingError("Rows that are read twice are those of a model that classifies them.", given=given)
    return logits


def _went_on(handle: Handle, inputs: Mapping[str, Any]) -> Ran:
    """Return what went on in the forward that has just run; all of it where that was the plain model's."""
    ran = handle.last
    if ran is None:
        batch, length = shape_of(inputs)
        mask = inputs.get("attention_mask")
        real = mask.bool() if isinstance(mask, torch.Tensor) and mask.ndim == 2 else None
        return Everything(len(locate(handle.model).blocks), batch, length, 0, real)
    return ran
