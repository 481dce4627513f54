"""Linear layers in 16-bit floating point, by torch itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from rheostat.models.low_precision import LowPrecisionLinear, linear_weight
from rheostat.techniques.inference.backends import Backend, bias_of, bytes_of, missing_engine, packing_for, quiet

__all__ = ["BACKENDS", "CastModel"]


@dataclass(frozen=True)
class CastModel(Backend):
    """Every parameter of the model in another floating-point type, embeddings and norms included.

    Buffers stay, since rotary frequencies lose positions in fewer bits.
    """

    name: str
    precision: str
    dtype: torch.dtype
    devices: tuple[str, ...] = ("cpu", "cuda", "mps")
    exact_rows: bool = True

    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        """Return one layer alone, for timing: the model itself is cast without it."""
        return _CastLayer(original, self.dtype)


class _CastLayer(LowPrecisionLinear):
    def __init__(self, original: nn.Module, dtype: torch.dtype) -> None:
        super().__init__(original)
        self._weight, self._bias = linear_weight(original).to(dtype), bias_of(original, dtype)
        self.input_type = dtype

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        return functional.linear(rows.to(self._weight.dtype), self._weight, self._bias)

    def held_bytes(self) -> int:
        return bytes_of(self._weight, self._bias)


@dataclass(frozen=True)
class _Cast(Backend):
    """Linear layers in bfloat16, everything between them in float32."""

    name: str
    precision: str
    devices: tuple[str, ...] = ("cpu", "cuda", "mps")
    exact_rows: bool = True

    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        layer = _CastLayer(original, torch.bfloat16)
        layer.input_type = torch.float32
        return layer


@dataclass(frozen=True)
class _Half(Backend):
    """Weights in float16, unpacked by the kernel; activations and sums in float32."""

    name: str
    precision: str
    exact_rows: bool = True

    def missing(self) -> str | None:
        return missing_engine("fbgemm")

    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        return _HalfLayer(original)


class _HalfLayer(LowPrecisionLinear):
    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        weight = linear_weight(original).contiguous()
        self._bytes = weight.numel() * 2 + self.out_features * 4
        with packing_for("fbgemm"), quiet():
            self._packed = torch.ops.quantized.linear_prepack_fp16(weight, bias_of(original))

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.quantized.linear_dynamic_fp16(rows, self._packed)
        return out

    def held_bytes(self) -> int:
        return self._bytes


BACKENDS: tuple[Backend, ...] = (
    CastModel("torch-model", "bf16", torch.bfloat16),
    _Cast("torch-linear", "bf16"),
    CastModel("torch-model", "fp16", torch.float16),
    _Half("torch-linear", "fp16"),
)
"""The ways that torch offers."""
