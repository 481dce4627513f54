"""Linear layers with weights of 8 or 4 bits and activations as they are, by torch itself."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from rheostat.models.low_precision import LowPrecisionLinear, linear_shape, linear_weight
from rheostat.techniques.inference.backends import Backend, bias_of, bytes_of, capabilities, rounded

__all__ = ["BACKENDS"]

_GROUP = 32
"""Weights that share a scale in 4 bits."""

_FEW_ROWS = 16
"""Up to so many rows, kernels that read packed weights beat unpacking them for a matrix product."""


class _Unpacking(LowPrecisionLinear):
    """Weights are unpacked for each product; in bfloat16 where the processor multiplies that quickly."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        self._bias = bias_of(original)
        known = capabilities()
        quick = known.get("avx512_bf16") or known.get("amx_bf16")
        self._type = torch.bfloat16 if quick else torch.float32

    @abstractmethod
    def unpacked(self, dtype: torch.dtype) -> torch.Tensor:
        """Return the weight ``[out, in]``."""

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        count = len(rows)
        if self._type is torch.bfloat16:
            # For every number of rows oneDNN makes a kernel: about 3 ms and 0.7 MB. So there are eight in an octave.
            step = 1 << max(count.bit_length() - 4, 0)
            wider = torch.zeros(-(-count // step) * step, rows.shape[1], dtype=self._type, device=rows.device)
            wider[:count] = rows
            rows = wider
        out = functional.linear(rows, self.unpacked(self._type))[:count].float()
        return out if self._bias is None else out.add_(self._bias)


@dataclass(frozen=True)
class _Unpacked8(Backend):
    """Weights of 8 bits a channel, unpacked for each product."""

    name: str
    precision: str
    devices: tuple[str, ...] = ("cpu", "cuda", "mps")
    exact_rows: bool = True

    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        return _Unpacked8Layer(original)


class _Unpacked8Layer(_Unpacking):
    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        self._weight, self._scales = rounded(linear_weight(original))

    def unpacked(self, dtype: torch.dtype) -> torch.Tensor:
        return self._weight.to(dtype).mul_(self._scales.to(dtype).unsqueeze(1))

    def held_bytes(self) -> int:
        return bytes_of(self._weight, self._scales, self._bias)


@dataclass(frozen=True)
class _Packed8(Backend):
    """As unpacked, but a few rows go through torch's kernel that reads 8-bit weights itself."""

    name: str
    precision: str
    exact_rows: bool = True

    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        return _Packed8Layer(original)


class _Packed8Layer(_Unpacked8Layer):
    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        self._half_scales = self._scales.bfloat16()

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        if len(rows) > _FEW_ROWS:
            return super().compute(rows)
        # In float32 this kernel has no fast path: 100 times slower at 64 rows.
        out = torch._weight_int8pack_mm(rows.bfloat16(), self._weight, self._half_scales).float()
        return out if self._bias is None else out.add_(self._bias)

    def held_bytes(self) -> int:
        return super().held_bytes() + bytes_of(self._half_scales)


def _nibbles(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the weight as int32 in 0 to 15, and the scale and the value of 8 of each group, ``[out, groups]``."""
    groups = weight.float().reshape(weight.shape[0], -1, _GROUP)
    low, high = groups.aminmax(dim=-1)
    scales = ((high - low) / 15).clamp(min=1e-30)
    levels = torch.round((groups - low.unsqueeze(-1)) / scales.unsqueeze(-1)).clamp(0, 15).int()
    return levels.reshape(weight.shape), scales, low + 8 * scales


@dataclass(frozen=True)
class _Unpacked4(Backend):
    """Weights of 4 bits in groups of 32, unpacked for each product."""

    name: str
    precision: str
    devices: tuple[str, ...] = ("cpu", "cuda", "mps")
    exact_rows: bool = True

    def fits(self, original: nn.Module) -> bool:
        return linear_shape(original)[0] % _GROUP == 0

    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        return _Unpacked4Layer(original)


class _Unpacked4Layer(_Unpacking):
    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        levels, scales, middles = _nibbles(linear_weight(original))
        halves = levels.to(torch.uint8).view(self.out_features, -1, 2)
        self._packed = halves[..., 0] | halves[..., 1] << 4
        self._scales, self._low = scales.half(), (middles - 8 * scales).half()

    def unpacked(self, dtype: torch.dtype) -> torch.Tensor:
        levels = torch.stack([self._packed & 15, self._packed >> 4], dim=-1)
        groups = levels.view(self.out_features, -1, _GROUP).to(dtype)
        scales, low = (part.to(dtype).unsqueeze(-1) for part in (self._scales, self._low))
        return groups.mul_(scales).add_(low).view(self.out_features, self.in_features)

    def held_bytes(self) -> int:
        return bytes_of(self._packed, self._scales, self._low, self._bias)


@dataclass(frozen=True)
class _Packed4(Backend):
    """Weights of 4 bits in groups of 32, read by torch's own kernel; activations in bfloat16."""

    name: str
    precision: str
    exact_rows: bool = True

    def fits(self, original: nn.Module) -> bool:
        inputs, outputs = linear_shape(original)
        return inputs % _GROUP == 0 and outputs % 16 == 0

    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        return _Packed4Layer(original)


class _Packed4Layer(LowPrecisionLinear):
    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        levels, scales, middles = _nibbles(linear_weight(original))
        self._packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels, 1)
        self._scales = torch.stack([scales, middles], dim=-1).transpose(0, 1).contiguous().bfloat16()
        self._bias = bias_of(original)

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        product = torch.ops.aten._weight_int4pack_mm_for_cpu(rows.bfloat16(), self._packed, _GROUP, self._scales)
        out: torch.Tensor = product.float()
        return out if self._bias is None else out.add_(self._bias)

    def held_bytes(self) -> int:
        return bytes_of(self._packed, self._scales, self._bias)


BACKENDS: tuple[Backend, ...] = (
    _Packed8("torch-packed", "int8-weight"),
    _Unpacked8("torch-unpacked", "int8-weight"),
    _Packed4("torch-packed", "int4"),
    _Unpacked4("torch-unpacked", "int4"),
)
"""The ways that torch offers."""
