"""One block on its survivors: gather, attend, choose, feed forward, write back."""

from __future__ import annotations

from typing import Any

import torch

from rheostat.models.attention import AttentionCall
from rheostat.models.flow import Flow, Step
from rheostat.models.layouts import Layout
from rheostat.models.scoring import Attended

__all__ = ["pruned_block"]

_NOT_FOR_ATTENTION = {"attention_mask", "position_ids", "encoder_attention_mask", "flow"}


def pruned_block(
    block: Any, layout: Layout, states: torch.Tensor, at: tuple[Flow, int], options: dict[str, Any]
) -> torch.Tensor:
    """Run one block on its survivors; everything that is gone keeps the state it had when it was dropped.

    Args:
        block: The block.
        layout: How it is laid out.
        states: What enters it, ``[batch, length, hidden]``, dropped states among them.
        at: The forward's flow, and the block's index.
        options: What the model hands the block beside the states.

    Returns:
        What leaves it, of the same shape.
    """
    flow, index = at
    step = flow.steps[index]
    scorer = flow.cut.scorer if flow.drops(index) else None
    call = _attention_call(flow, index, step, scorer, options)
    with call.running():
        mixed = layout.mix(block, _take(states, step), _attention_options(step, options))
    if flow.projects:
        flow.choose(index, None)
        return states
    chosen = flow.choose(index, _scores(flow, index, call))
    if chosen is None:
        fed = layout.feed(block, mixed)
    else:
        going_on = layout.feed(block, _rows(mixed, chosen))
        fed = _put(mixed, chosen, going_on, flow.steps[index + 1].valid(), in_place=not torch.is_grad_enabled())
    if step.whole:
        return fed
    # What enters the first block that runs is somebody else's: the embedding, or saved states.
    return _put(states, step.columns, fed, step.valid(), in_place=flow.may_overwrite and index > flow.first)


def _attention_call(flow: Flow, index: int, step: Step, scorer: Any, options: dict[str, Any]) -> AttentionCall:
    columns, valid = flow.columns_seen(step), step.valid()
    cache = options.get("past_key_values")
    layer = None
    if cache is not None:
        layer = cache.layers[index]
        layer.announce(columns, valid, flow.past + flow.length)
    return AttentionCall(columns, valid, scorer, layer, flow.past + flow.length)


def _attention_options(step: Step, options: dict[str, Any]) -> dict[str, Any]:
    wanted = {name: value for name, value in options.items() if name not in _NOT_FOR_ATTENTION and value is not None}
    rotary = wanted.get("position_embeddings")
    if rotary is not None and not step.whole:
        rows = step.columns.shape[0]
        wanted["position_embeddings"] = tuple(_rows(part.expand(rows, -1, -1), step.columns) for part in rotary)
    return {**wanted, "attention_mask": None}


def _scores(flow: Flow, index: int, call: AttentionCall) -> torch.Tensor | None:
    if call.scorer is None:
        return None
    return call.scorer.score(Attended(call.received, call.visible, call.columns, index)).detach()


def _take(states: torch.Tensor, step: Step) -> torch.Tensor:
    return states if step.whole else _rows(states, step.columns)


def _flat(columns: torch.Tensor, length: int) -> torch.Tensor:
    """Return the rows' indices into ``[batch * length, ...]``: whole rows are copied, not single elements."""
    if columns.shape[0] == 1:
        return columns[0]
    offsets = torch.arange(columns.shape[0], device=columns.device).unsqueeze(1) * length
    return (columns + offsets).view(-1)


def _rows(states: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Gather ``[batch, length, size]`` at ``columns [batch, width]``."""
    batch, length, size = states.shape
    return states.reshape(-1, size).index_select(0, _flat(columns, length)).view(batch, -1, size)


def _put(
    states: torch.Tensor,
    columns: torch.Tensor,
    new: torch.Tensor,
    valid: torch.Tensor | None,
    *,
    in_place: bool,
) -> torch.Tensor:
    """Return ``states`` with ``new`` in place of ``columns``; padding in ``new`` changes nothing."""
    _, length, size = states.shape
    at = _flat(columns, length)
    flat = states.reshape(-1, size)
    rows = new.reshape(-1, size)
    # Autocast may give a block's output another type than its input.
    flat = flat.to(rows.dtype)
    if valid is not None:
        rows = torch.where(valid.reshape(-1, 1), rows, flat.index_select(0, at))
    written = flat.index_copy_(0, at, rows) if in_place else flat.index_copy(0, at, rows)
    return written.view_as(states)
