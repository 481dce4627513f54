"""Who computes a linear layer in low precision: one small class for each way that a library offers.

ONNX Runtime and OpenVINO are left out: they run a whole exported graph, which fixes its shapes of data flow. The token
dial cuts inside a block, at columns known only when its attention has run, and the key-value cache lives in PyTorch.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from rheostat.models.low_precision import LowPrecisionLinear, linear_shape, linear_weight

__all__ = ["Backend", "CastModel", "quiet", "torch_backends"]

_GROUP = 32
"""Weights that share a scale in 4 bits."""

_FEW_ROWS = 16
"""Up to so many rows, kernels that read packed weights beat unpacking them for a matrix product."""


class Backend(ABC):
    """One way to compute linear layers in one precision.

    Attributes:
        name: What reports call it.
        precision: The precision it computes in.
        packages: The packages it needs beside torch.
        devices: The kinds of device it runs on.
        exact_rows: Whether a row's result is the same whatever the other rows are.
    """

    name: str
    precision: str
    packages: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu",)
    exact_rows: bool = False

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


def torch_backends() -> tuple[Backend, ...]:
    """Return the ways that torch itself offers."""
    return (
        CastModel("torch-model", "bf16", torch.bfloat16),
        _Cast("torch-linear", "bf16"),
        CastModel("torch-model", "fp16", torch.float16),
        _Half("torch-linear", "fp16"),
        *(_Engine(f"torch-{engine}", "int8", engine) for engine in ("x86", "fbgemm", "onednn", "qnnpack")),
        _IntMm("torch-int-mm", "int8"),
        _Packed8("torch-packed", "int8-weight"),
        _Unpacked8("torch-unpacked", "int8-weight"),
        _Packed4("torch-packed", "int4"),
        _Unpacked4("torch-unpacked", "int4"),
    )


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
        self._weight, self._bias = linear_weight(original).to(dtype), _bias(original, dtype)
        self.input_type = dtype

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        return functional.linear(rows.to(self._weight.dtype), self._weight, self._bias)

    def held_bytes(self) -> int:
        return _bytes(self._weight, self._bias)


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
        return _missing_engine("fbgemm")

    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        return _HalfLayer(original)


class _HalfLayer(LowPrecisionLinear):
    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        weight = linear_weight(original).contiguous()
        self._bytes = weight.numel() * 2 + self.out_features * 4
        with _engine("fbgemm"), quiet():
            self._packed = torch.ops.quantized.linear_prepack_fp16(weight, _bias(original))

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.quantized.linear_dynamic_fp16(rows, self._packed)
        return out

    def held_bytes(self) -> int:
        return self._bytes


@dataclass(frozen=True)
class _Engine(Backend):
    """Torch's dynamic int8 linear: 8-bit weights a channel, activations by their range in the whole tensor."""

    name: str
    precision: str
    engine: str

    def missing(self) -> str | None:
        return _missing_engine(self.engine)

    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        return _EngineLayer(original, self.engine)


class _EngineLayer(LowPrecisionLinear):
    def __init__(self, original: nn.Module, engine: str) -> None:
        super().__init__(original)
        weight, scales = _rounded(linear_weight(original))
        # Without VNNI, pairs of products are added in 16 bits, which 8-bit activations overflow.
        self._reduce_range = not _has_vnni()
        with _engine(engine), quiet():
            quantised = torch._make_per_channel_quantized_tensor(
                weight, scales.double(), torch.zeros_like(scales, dtype=torch.long), 0
            )
            self._packed = torch.ops.quantized.linear_prepack(quantised, _bias(original))

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.quantized.linear_dynamic(rows, self._packed, self._reduce_range)
        return out

    def held_bytes(self) -> int:
        # Scale, zero point, column sum and bias of each channel.
        return self.in_features * self.out_features + 16 * self.out_features


@dataclass(frozen=True)
class _IntMm(Backend):
    """Integer products of 8-bit weights a channel and 8-bit activations a row: rows do not depend on each other."""

    name: str
    precision: str
    devices: tuple[str, ...] = ("cpu", "cuda")
    exact_rows: bool = True

    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        return _IntMmLayer(original)


class _IntMmLayer(LowPrecisionLinear):
    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        weight, self._scales = _rounded(linear_weight(original))
        self._weight, self._bias = weight.t(), _bias(original)

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        scales = rows.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
        out = torch._int_mm(torch.round(rows / scales).to(torch.int8), self._weight) * (scales * self._scales)
        return out if self._bias is None else out.add_(self._bias)

    def held_bytes(self) -> int:
        return _bytes(self._weight, self._scales, self._bias)


class _Unpacking(LowPrecisionLinear):
    """Weights are unpacked for each product; in bfloat16 where the processor multiplies that quickly."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        self._bias = _bias(original)
        capabilities = _capabilities()
        quick = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
        self._type = torch.bfloat16 if quick else torch.float32

    @abstractmethod
    def unpacked(self, dtype: torch.dtype) -> torch.Tensor:
        """Return the weight ``[out, in]``."""

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        out = functional.linear(rows.to(self._type), self.unpacked(self._type)).float()
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
        self._weight, self._scales = _rounded(linear_weight(original))

    def unpacked(self, dtype: torch.dtype) -> torch.Tensor:
        return self._weight.to(dtype).mul_(self._scales.to(dtype).unsqueeze(1))

    def held_bytes(self) -> int:
        return _bytes(self._weight, self._scales, self._bias)


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
        return super().held_bytes() + _bytes(self._half_scales)


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
        return _bytes(self._packed, self._scales, self._low, self._bias)


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
        self._bias = _bias(original)

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        product = torch.ops.aten._weight_int4pack_mm_for_cpu(rows.bfloat16(), self._packed, _GROUP, self._scales)
        out: torch.Tensor = product.float()
        return out if self._bias is None else out.add_(self._bias)

    def held_bytes(self) -> int:
        return _bytes(self._packed, self._scales, self._bias)


def _rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weight as int8 and the scale of each channel, float32."""
    scales = (weight.float().abs().amax(1) / 127).clamp(min=1e-30)
    return torch.round(weight / scales.unsqueeze(1)).to(torch.int8).contiguous(), scales


def _bias(original: nn.Module, dtype: torch.dtype = torch.float32) -> torch.Tensor | None:
    bias = getattr(original, "bias", None)
    return bias.detach().to(dtype, copy=True) if isinstance(bias, torch.Tensor) else None


def _bytes(*tensors: torch.Tensor | None) -> int:
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


@contextmanager
def _engine(name: str) -> Iterator[None]:
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = name
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


def _missing_engine(name: str) -> str | None:
    known = torch.backends.quantized.supported_engines
    return None if name in known else f"this torch has no engine '{name}' ({', '.join(known)})"


def _capabilities() -> dict[str, object]:
    # Torch 2.9 to 2.11 do not say; then nothing is taken for granted.
    found = getattr(torch.cpu, "get_capabilities", dict)
    return dict(found())


def _has_vnni() -> bool:
    capabilities = _capabilities()
    return any(bool(capabilities.get(name)) for name in ("avx512_vnni", "avx_vnni", "dot", "amx_int8"))
