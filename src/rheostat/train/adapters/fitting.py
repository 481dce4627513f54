"""Which kinds of training a model and a machine allow, asked before anything is trained."""

from __future__ import annotations

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from rheostat.models.families import locate
from rheostat.models.parts import parts_of
from rheostat.train.adapters.quantised import why_not

__all__ = ["unfit_kinds"]


def unfit_kinds(model: nn.Module, device: str = "cpu") -> dict[str, str]:
    """Return the kinds of `rheostat.train.adapters.Trainable` that cannot be trained, each with the reason.

    Args:
        model: The model; its tensors may be without content.
        device: Where it would be trained.

    Raises:
        UnsupportedModelError: If the family is not supported.
    """
    found: dict[str, str] = {}
    if any(isinstance(module, Conv1D) for block in locate(model).blocks for module in block.modules()):
        found["qlora"] = "its layers are Conv1D, as GPT-2's, which bitsandbytes cannot hold in 4 bits"
    else:
        reason = why_not(torch.device(device))
        if reason is not None:
            found["qlora"] = f"bitsandbytes cannot hold weights in 4 bits here: {reason}"
    if not parts_of(model).head:
        found["frozen"] = "the output layer is tied to the embeddings, so that there is no head to train alone"
    return found
