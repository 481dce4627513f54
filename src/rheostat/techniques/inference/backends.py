"""Who computes a linear layer in low precision: one small class for each way that a library offers.

ONNX Runtime and OpenVINO are left out: they run a whole exported graph, which fixes its shapes of data flow. The token
dial cuts inside a block, at columns known only when its attention has run, and the key-value cache lives in PyTorch.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from rheostat.models.low_precision import LowPrecisionLinear

__all__ = ["Backend", "bias_of", "bytes_of", "capabilities", "missing_engine", "packing_for", "quiet", "rounded"]


class Backend(ABC):
    """One way to compute linear layers in one precision.

    Attributes:
        name: What reports call it.
        precision: The precision it computes in.
        packages: The packages it needs beside torch.
        devices: The kinds of device it runs on.
        exact_rows: Whether a row's result is the same whatever the other rows are.
        by_row: For int8: whether activations are rounded by the range of their own row. Then a row that is larger than
            the others costs them no bits.
    """

    name: str
    precision: str
    packages: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    exact_rows: bool = False
    by_row: bool = False

    def missing(self) -> str | None:
        """Return what this machine lacks; None where nothing is known to be missing."""
        return None

    def fits(self, original: nn.Module) -> bool:
        """Whether it can compute a layer of this size."""
        return True

    @abstractmethod
    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        """Return a layer that stands in for a linear layer or `Conv1D`, which stays as it is."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings of libraries about themselves from users: there is nothing they could do about them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weight as int8 and the scale of each channel, float32."""
    scales = (weight.float().abs().amax(1) / 127).clamp(min=1e-30)
    return torch.round(weight / scales.unsqueeze(1)).to(torch.int8).contiguous(), scales


def bias_of(original: nn.Module, dtype: torch.dtype = torch.float32) -> torch.Tensor | None:
    """Return a copy of a layer's bias; None where it has none."""
    bias = getattr(original, "bias", None)
    return bias.detach().to(dtype, copy=True) if isinstance(bias, torch.Tensor) else None


def bytes_of(*tensors: torch.Tensor | None) -> int:
    """Return the bytes of some tensors."""
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


@contextmanager
def packing_for(name: str) -> Iterator[None]:
    """Let torch pack for one of its quantised engines inside."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def missing_engine(name: str) -> str | None:
    """Say that torch was built without one of its quantised engines; None where it has it."""
    known = torch.backends.quantized.supported_engines
    return None if name in known else f"this torch has no engine '{name}' ({', '.join(known)})"


def capabilities() -> dict[str, object]:
    """Return what the processor can do, as torch names it."""
    # Torch 2.9 to 2.11 do not say; then nothing is taken for granted.
    found = getattr(torch.cpu, "get_capabilities", dict)
    return dict(found())
