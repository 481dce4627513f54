"""Low-precision linear layers of other packages: torchao and bitsandbytes. The only place that imports them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from rheostat.core.extras import require
from rheostat.models.low_precision import LowPrecisionLinear, linear_shape, linear_weight
from rheostat.techniques.inference.backends import Backend, quiet

__all__ = ["BACKENDS"]

_EXTRA = "precision"
_BLOCK = 64
"""Weights that share a scale in bitsandbytes' 4 bits."""


@dataclass(frozen=True)
class _Packaged(Backend):
    """A layer that a package makes of a plain one."""

    name: str
    precision: str
    package: str
    make: Callable[[nn.Linear], nn.Module]
    devices: tuple[str, ...] = ("cpu", "cuda")
    by_row: bool = True

    @property
    def packages(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.package,)

    def missing(self) -> str | None:
        found = find_spec(self.package) is not None
        return None if found else f"not installed; run: pip install 'rheostat[{_EXTRA}]'"

    def fits(self, original: nn.Module) -> bool:
        # Blocks that straddle two rows came out wrong (bitsandbytes 0.50, 48 inputs: a relative error of 0.4).
        return self.precision != "int4" or linear_shape(original)[0] % _BLOCK == 0

    def convert(self, original: nn.Module) -> LowPrecisionLinear:
        return _PackagedLayer(original, self.make, bits=4 if self.precision == "int4" else 8)


class _PackagedLayer(LowPrecisionLinear):
    def __init__(self, original: nn.Module, make: Callable[[nn.Linear], nn.Module], bits: int) -> None:
        super().__init__(original)
        bias: Any = getattr(original, "bias", None)
        plain = nn.Linear(self.in_features, self.out_features, bias=bias is not None, device="meta")
        plain.weight = nn.Parameter(linear_weight(original).clone(), requires_grad=False)
        if bias is not None:
            plain.bias = nn.Parameter(bias.detach().clone(), requires_grad=False)
        # In a tuple, so that its packed weights are not taken for parameters of the model.
        with quiet(), torch.no_grad():
            self._made = (make(plain),)
            # What these libraries have to say, they say in the first forward.
            self._made[0](torch.zeros((1, self.in_features), device=plain.weight.device))
        scales = self.out_features if bits == 8 else self.in_features * self.out_features // _BLOCK
        self._bytes = self.in_features * self.out_features * bits // 8 + 4 * scales
        self._bytes += 0 if bias is None else 4 * self.out_features

    def compute(self, rows: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self._made[0](rows)
        return out

    def held_bytes(self) -> int:
        return self._bytes


def _torchao(config: str) -> Callable[[nn.Linear], nn.Module]:
    def make(plain: nn.Linear) -> nn.Module:
        library = require("torchao.quantization", _EXTRA)
        library.quantize_(plain, getattr(library, config)())
        return plain

    return make


def _bitsandbytes8(plain: nn.Linear) -> nn.Module:
    library = require("bitsandbytes", _EXTRA).nn
    made = library.Linear8bitLt(
        plain.in_features, plain.out_features, bias=plain.bias is not None, has_fp16_weights=False
    )
    return _filled(made, plain)


def _bitsandbytes4(plain: nn.Linear) -> nn.Module:
    library = require("bitsandbytes", _EXTRA).nn
    made = library.Linear4bit(
        plain.in_features,
        plain.out_features,
        bias=plain.bias is not None,
        compute_dtype=torch.bfloat16,
        quant_type="nf4",
    )
    return _filled(made, plain)


def _filled(made: Any, plain: nn.Linear) -> nn.Module:
    made.load_state_dict(plain.state_dict())
    filled: nn.Module = made.to(plain.weight.device).requires_grad_(False)
    return filled


BACKENDS: tuple[Backend, ...] = (
    _Packaged("torchao", "int8", "torchao", _torchao("Int8DynamicActivationInt8WeightConfig")),
    _Packaged("torchao", "int8-weight", "torchao", _torchao("Int8WeightOnlyConfig")),
    _Packaged("bitsandbytes", "int8-weight", "bitsandbytes", _bitsandbytes8),
    _Packaged("bitsandbytes", "int4", "bitsandbytes", _bitsandbytes4),
)
"""The ways that optional packages offer, whether they are installed or not."""
