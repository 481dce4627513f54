"""QLoRA: the linear layers of the blocks held in 4 bits by bitsandbytes while adapters are trained."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from rheostat.core.errors import UnsupportedModelError
from rheostat.models.families import locate

__all__ = ["merge", "quantise", "told", "why_not"]

_FLAG = "is_loaded_in_4bit"
_TRIAL = 64


def why_not(device: torch.device) -> str | None:
    """Return why bitsandbytes cannot hold weights in 4 bits on a device; None where it can.

    A small layer is tried: the package can be installed and lack the code for this device.
    """
    try:
        library = importlib.import_module("bitsandbytes")
        plain = nn.Linear(_TRIAL, _TRIAL).to(device)
        rows = torch.ones(1, _TRIAL, device=device, requires_grad=True)
        layer: Any = _four_bits(library, plain)
        out = layer(rows)
        out.sum().backward()
    except Exception as error:  # noqa: BLE001 - whatever the package raises is the reason
        return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason'}"
    error_of_layer = float((out - plain(rows)).norm() / plain(rows).norm())
    return None if error_of_layer < 0.5 else f"a layer is off by {error_of_layer:.0%}"


def quantise(model: nn.Module) -> None:
    """Put the linear layers of the blocks into 4 bits (NF4, scales quantised, too), in place.

    QLoRA: https://arxiv.org/abs/2305.14314. It differs from the paper in that the model is loaded whole first, and that
    numbers are computed in the type of the model, not in bfloat16.

    Raises:
        UnsupportedModelError: If bitsandbytes does not work here, or the layers are not `torch.nn.Linear`.
    """
    blocks = locate(model).blocks
    if any(isinstance(module, Conv1D) for block in blocks for module in block.modules()):
        raise UnsupportedModelError(
            "QLoRA holds layers of torch.nn.Linear in 4 bits.",
            given="a model whose layers are Conv1D, as GPT-2's",
            mend="Choose 'lora'.",
        )
    reason = why_not(next(model.parameters()).device)
    if reason is not None:
        raise UnsupportedModelError(
            "QLoRA needs bitsandbytes, working on this machine.",
            given=reason,
            mend="Install it with pip install 'rheostat[precision]', or choose 'lora'.",
        )
    library = importlib.import_module("bitsandbytes")
    for block in blocks:
        for parent in list(block.modules()):
            for name, layer in list(parent.named_children()):
                if type(layer) is nn.Linear:
                    parent._modules[name] = _four_bits(library, layer)


@contextmanager
def told(model: nn.Module, quantised: bool) -> Iterator[None]:
    """Tell PEFT that a model holds layers in 4 bits, by the mark that it looks for, while the context is open."""
    if not quantised:
        yield
        return
    setattr(model, _FLAG, True)
    try:
        yield
    finally:
        delattr(model, _FLAG)


def merge(model: nn.Module) -> None:
    """Turn layers in 4 bits that carry adapters into plain layers with the adapters in their weights, in place.

    PEFT would round the merged weights to 4 bits again, and lose most of what was learnt.
    """
    library = importlib.import_module("bitsandbytes")
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            carrier: Any = layer
            base = getattr(carrier, "base_layer", None)
            if isinstance(base, library.nn.Linear4bit):
                parent._modules[name] = _plain(library, base, carrier.get_delta_weight("default"))


def _four_bits(library: Any, plain: nn.Linear) -> nn.Module:
    made = library.nn.Linear4bit(
        plain.in_features,
        plain.out_features,
        bias=plain.bias is not None,
        compute_dtype=plain.weight.dtype,
        compress_statistics=True,
        quant_type="nf4",
    )
    # Else a forward in evaluation mode packs the weights in another way, which neither training nor merging reads.
    made.support_avx512bf16_for_cpu = False
    made.load_state_dict(plain.state_dict())
    made = made.requires_grad_(False).to(plain.weight.device).train(plain.training)
    if made.weight.quant_state is None:
        # On the CPU a move from the CPU is none, and quantises nothing.
        made.weight = made.weight._quantize(plain.weight.device)
    filled: nn.Module = made
    return filled


def _plain(library: Any, base: Any, change: torch.Tensor) -> nn.Linear:
    weight = library.functional.dequantize_4bit(base.weight.data, base.weight.quant_state)
    made = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None, device=weight.device)
    made = made.to(base.compute_dtype).train(base.training)
    with torch.no_grad():
        made.weight.copy_(weight.to(base.compute_dtype) + change.to(base.compute_dtype))
        if base.bias is not None:
            made.bias.copy_(base.bias)
    return made
