"""The parameters of a model by where they are: below the blocks, in each block, above them, and in the head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle
from transformers.pytorch_utils import Conv1D

from rheostat.models.families import Located, locate

__all__ = ["Parts", "block_matrices", "parts_of", "stop_below"]

Named = dict[str, nn.Parameter]


@dataclass(frozen=True, slots=True)
class Parts:
    """The parameters of a model, by name; one that is tied is where it comes first.

    Attributes:
        below: What runs before the blocks: embeddings and what belongs to them.
        blocks: Those of each block, from the input on.
        above: What runs after the blocks but is no head: a final norm, a pooler.
        head: What is outside the base model: a classifier, or a language model's own output layer.
    """

    below: Named
    blocks: tuple[Named, ...]
    above: Named
    head: Named


def parts_of(model: nn.Module) -> Parts:
    """Return the parameters of a model by where they are.

    A language model's output layer that is tied to the embeddings belongs to these: training it trains them.

    Raises:
        UnsupportedModelError: If the model's family is not supported.
    """
    located = locate(model)
    before, after = _around(located)
    place = {id(each): ("below", 0) for each in located.base.parameters()}
    place |= {id(each): ("below", 0) for module in before for each in module.parameters()}
    place |= {id(each): ("above", 0) for module in after for each in module.parameters()}
    place |= {id(each): ("block", at) for at, block in enumerate(located.blocks) for each in block.parameters()}
    below, above, head = Named(), Named(), Named()
    blocks = tuple(Named() for _ in located.blocks)
    for name, parameter in model.named_parameters():
        where, at = place.get(id(parameter), ("head", 0))
        {"below": below, "above": above, "head": head, "block": blocks[at]}[where][name] = parameter
    return Parts(below, blocks, above, head)


def block_matrices(model: nn.Module) -> dict[str, nn.Module]:
    """Return the linear layers in the blocks and between them and the head, by path.

    Linear layers are `torch.nn.Linear` and GPT-2's ``Conv1D``, no subclasses, whose forward may be another one. They
    come in the order in which they lie in the model.

    Raises:
        UnsupportedModelError: If the model's family is not supported.
    """
    located = locate(model)
    roots = (*located.blocks, *_around(located)[1])
    inside = {id(module) for root in roots for module in root.modules()}
    return {
        path: module
        for path, module in model.named_modules()
        if id(module) in inside and type(module) in (nn.Linear, Conv1D)
    }


def stop_below(model: nn.Module) -> RemovableHandle:
    """Let no gradient pass from the first block to what is below, until the handle is removed.

    Frozen parameters alone do not see to that: with checkpointed activations Transformers makes the embeddings' output
    ask for a gradient, and so every block would be computed again, and backwards.

    Raises:
        UnsupportedModelError: If the model's family is not supported.
    """
    return locate(model).blocks[0].register_forward_pre_hook(_without_graph, with_kwargs=True)


def _without_graph(block: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    if args:
        return (args[0].detach(), *args[1:]), kwargs
    return args, {**kwargs, "hidden_states": kwargs["hidden_states"].detach()}


def _around(located: Located) -> tuple[list[nn.Module], list[nn.Module]]:
    """Return the modules that are registered before and after the blocks: in every family, the order they run in."""
    before: list[nn.Module] = []
    after: list[nn.Module] = []
    at = located.base
    for name in located.family.blocks.split("."):
        seen = False
        for child_name, child in at.named_children():
            if child_name == name:
                seen = True
            else:
                (after if seen else before).append(child)
        at = at.get_submodule(name)
    return before, after
