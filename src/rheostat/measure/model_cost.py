"""What a model's blocks cost, read off the model itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from rheostat.core.errors import UnsupportedModelError
from rheostat.measure.macs import BlockCost, Macs, ModelCost, Visible, batch_macs
from rheostat.models.families import Located, locate
from rheostat.models.segment import Reread
from rheostat.techniques.handle import Handle

__all__ = ["cost_of", "forward_macs", "linear_weights"]


def cost_of(model: nn.Module) -> ModelCost:
    """Read off a model what its blocks cost, see `rheostat.measure.macs`.

    Low-rank adapters count where they are at work, and not where they are merged into the weights or switched
    off.

    Args:
        model: A Transformers model of a supported family, plain or wearing techniques.

    Raises:
        UnsupportedModelError: If the family is unknown, or a block shows no linear layer.
    """
    located = locate(model)
    blocks = tuple(_block_cost(located, index) for index in range(len(located.blocks)))
    inside = sum(linear_weights(block) for block in located.blocks)
    return ModelCost(blocks, linear_weights(model) - inside)


def linear_weights(module: nn.Module) -> int:
    """Return the multiply-accumulates that one row takes in all linear layers of a module.

    Linear is what shows ``in_features`` and ``out_features`` (torch's own, quantised ones, PEFT's adapters),
    and Transformers' `Conv1D`; an embedding is a look-up and costs nothing.
    """
    return sum(inputs * outputs for inputs, outputs in _linear_shapes(module))


def forward_macs(cost: ModelCost, lengths: Sequence[int], handle: Handle) -> Macs:
    """Count the last forward of a handle's model, both readings where rows were read twice.

    Args:
        cost: Of the model.
        lengths: Real tokens of each row.
        handle: The handle; the forward was a classifier's, or one for next-token logits alone.
    """
    ran = handle.last
    if ran is None:
        return batch_macs(cost, lengths, [])
    everybody = tuple(range(len(lengths)))
    readings = [(everybody, ran.first), (ran.rows, ran.second)] if isinstance(ran, Reread) else [(everybody, ran)]
    counted = (
        batch_macs(cost, [lengths[row] for row in rows], part.survivors(), entered=part.entered())
        for rows, part in readings
    )
    return sum(counted, Macs())


def _linear_shapes(module: nn.Module) -> Iterator[tuple[int, int]]:
    if isinstance(module, Conv1D):
        yield int(module.nx), int(module.nf)
        return
    base = getattr(module, "base_layer", None)
    if isinstance(base, nn.Module):
        yield from _linear_shapes(base)
        for adapter in _working_adapters(module):
            yield from _linear_shapes(adapter)
        return
    children = list(module.children())
    if not children and hasattr(module, "in_features") and hasattr(module, "out_features"):
        yield int(module.in_features), int(module.out_features)  # type: ignore[arg-type]
    for child in children:
        yield from _linear_shapes(child)


def _working_adapters(layer: Any) -> Iterator[nn.Module]:
    """Return the low-rank parts that a PEFT layer runs beside its base layer."""
    if getattr(layer, "merged", False) or getattr(layer, "disable_adapters", False):
        return
    active = getattr(layer, "active_adapters", ())
    for table in (getattr(layer, "lora_A", None), getattr(layer, "lora_B", None)):
        if isinstance(table, nn.ModuleDict):
            yield from (table[name] for name in active if name in table)


def _block_cost(located: Located, index: int) -> BlockCost:
    layout, block = located.family.layout, located.blocks[index]
    attention = linear_weights(layout.attention_part(block))
    feed_forward = linear_weights(block) - attention
    if not attention or not feed_forward:
        raise UnsupportedModelError(
            "Counting needs linear layers that show their size in every block.",
            given=f"{located.family.label}, block {index}: {attention} and {feed_forward} weights",
            mend="Load the model with linear layers that have in_features and out_features.",
        )
    config: Any = located.base.config
    dispatcher = layout.dispatcher(block)
    heads = int(config.num_attention_heads)
    visible = Visible(located.family.kind == "decoder", _window(dispatcher, config, index))
    return BlockCost(attention, feed_forward, heads, _head_size(dispatcher, config, heads), visible)


def _head_size(attention: nn.Module, config: Any, heads: int) -> int:
    for name in ("head_dim", "attention_head_size", "head_size"):
        size = getattr(attention, name, None)
        if isinstance(size, int):
            return size
    return int(getattr(config, "head_dim", None) or config.hidden_size // heads)


def _window(attention: nn.Module, config: Any, index: int) -> int | None:
    """Return how far a query sees, in columns; None for everything."""
    kinds = getattr(config, "layer_types", None)
    if kinds is not None and kinds[index] != "sliding_attention":
        return None
    window = getattr(attention, "sliding_window", getattr(config, "sliding_window", None))
    return int(window) if window else None
