"""Linear layers that multiply 8-bit weights by 8-bit activations, by torch itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from rheostat.models.low_precision import LowPrecisionLinear, linear_weight
from rheostat.techniques.inference.backends import (
    Backend,
    bias_of,
    bytes_of,
    capabilities,
    missing_engine,
    packing_for,
    quiet,
    rounded,
)

__all__ = ["BACKENDS", "activation_bits"]


@dataclass(frozen=True)
class _Engine(Backend):
    """Torch's dynamic int8 linear: 8-bit weights a channel, activations by their range in the whole tensor."""

    name: str
    precision: str
    engine: str

    def missing(self) -> str | None:
        return missing_engine(self.engine)

    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        return _EngineLayer(original, self.engine, bias_of(original))


class _EngineLayer(LowPrecisionLinear):
    def __init__(self, original: nn.Module, engine: str, bias: torch.Tensor | None) -> None:
        super().__init__(original)
        weight, scales = rounded(linear_weight(original))
        self._reduce_range = activation_bits() < 8
        with packing_for(engine), quiet():
            quantised = torch._make_per_channel_quantized_tensor(
                weight, scales.double(), torch.zeros_like(scales, dtype=torch.long), 0
            )
            self._packed = torch.ops.quantized.linear_prepack(quantised, bias)

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.ops.quantized.linear_dynamic(rows, self._packed, self._reduce_range)
        return out

    def held_bytes(self) -> int:
        # Scale, zero point, column sum and bias of each channel.
        return self.in_features * self.out_features + 16 * self.out_features


@dataclass(frozen=True)
class _RowEngine(_Engine):
    """The same with every row brought to the range of -1 to 1 before, and back after: 8 bits a row."""

    by_row: bool = True

    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        return _RowEngineLayer(original, self.engine)


class _RowEngineLayer(_EngineLayer):
    def __init__(self, original: nn.Module, engine: str) -> None:
        # The bias is added to what has been scaled back.
        super().__init__(original, engine, None)
        self._bias = bias_of(original)

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        if len(rows) == 1:
            out = super().compute(rows)
        else:
            scales = rows.abs().amax(1, keepdim=True).clamp(min=1e-30)
            out = super().compute(rows / scales).mul_(scales)
        return out if self._bias is None else out.add_(self._bias)


@dataclass(frozen=True)
class _IntMm(Backend):
    """Integer products of 8-bit weights a channel and 8-bit activations a row: rows do not depend on each other."""

    name: str
    precision: str
    devices: tuple[str, ...] = ("cpu", "cuda")
    exact_rows: bool = True
    by_row: bool = True

    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        return _IntMmLayer(original)


class _IntMmLayer(LowPrecisionLinear):
    def __init__(self, original: nn.Module) -> None:
        super().__init__(original)
        weight, self._scales = rounded(linear_weight(original))
        self._weight, self._bias = weight.t(), bias_of(original)

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        scales = rows.abs().amax(1, keepdim=True).clamp(min=1e-30) / 127
        out = torch._int_mm(torch.round(rows / scales).to(torch.int8), self._weight) * (scales * self._scales)
        return out if self._bias is None else out.add_(self._bias)

    def held_bytes(self) -> int:
        return bytes_of(self._weight, self._scales, self._bias)


def activation_bits() -> int:
    """Return how many bits activations have in torch's engines on this processor.

    Without VNNI or its like, pairs of products are added in 16 bits, which 8-bit activations overflow: then it is 7.
    """
    known = capabilities()
    return 8 if any(bool(known.get(name)) for name in ("avx512_vnni", "avx_vnni", "dot", "amx_int8")) else 7


BACKENDS: tuple[Backend, ...] = (
    *(_Engine(f"torch-{engine}", "int8", engine) for engine in ("x86", "fbgemm", "onednn", "qnnpack")),
    *(_RowEngine(f"torch-{engine}-rows", "int8", engine) for engine in ("x86", "fbgemm", "onednn", "qnnpack")),
    _IntMm("torch-int-mm", "int8"),
)
"""The ways that torch offers."""
