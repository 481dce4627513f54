"""A key-value cache in 8 bits: a quarter of the memory of float32, in Transformers' own cache layers.

Each key and each value of a head is rounded to 127 steps either side of zero. Its scale, a bfloat16, stands in two more
columns of the same tensor, so that whatever takes rows, columns or windows of a cache takes the scales along.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, ClassVar

import torch
from torch import nn
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from rheostat.core.errors import CacheError
from rheostat.models.cache import PrunedLayer
from rheostat.models.families import Located

__all__ = ["Int8Layer", "Int8PrunedLayer", "Int8SlidingLayer", "WornCache", "convert_cache", "pack", "unpack"]

_SCALE_BYTES = 2
_ROOM = 1 + 2**-7
"""A scale is taken so much larger that rounding it to bfloat16 never brings a state above 127 steps."""


def pack(states: torch.Tensor) -> torch.Tensor:
    """Return ``[..., size]`` as int8 ``[..., size + 2]``, the scale of each row in the last two.

    Each number comes back within 0.51 % of the largest magnitude of its row: half a step of 1/127, and the rounding
    room of the scale.
    """
    with torch.no_grad():
        largest = states.abs().amax(-1, keepdim=True).float()
        scales = (largest * (_ROOM / 127)).clamp(min=1e-30).bfloat16()
        levels = torch.round(states.float() / scales.float()).to(torch.int8)
        return torch.cat([levels, scales.view(torch.int8)], dim=-1)


def unpack(packed: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return what `pack` packed, as ``[..., size]`` of this type."""
    scales = packed[..., -_SCALE_BYTES:].contiguous().view(torch.bfloat16)
    return packed[..., :-_SCALE_BYTES].to(dtype).mul_(scales.to(dtype))


class _Packing(DynamicLayer):
    """Packs what a layer stores; what is new in a call is handed on as it is, so that a prompt alone is exact."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append keys and values, and return all that may be seen, in the type of the new ones."""
        keys, values = super().update(pack(key_states), pack(value_states), *args, **kwargs)
        return _with_new(keys, key_states), _with_new(values, value_states)


class Int8Layer(_Packing, DynamicLayer):
    """A dynamic layer in 8 bits; ``keys`` and ``values`` hold what `pack` returns."""

    pruned_kind: ClassVar[type[PrunedLayer]]


class Int8SlidingLayer(_Packing, DynamicSlidingWindowLayer):
    """A sliding-window layer in 8 bits."""

    pruned_kind: ClassVar[type[PrunedLayer]]


class Int8PrunedLayer(_Packing, PrunedLayer):
    """A pruned layer in 8 bits."""


Int8Layer.pruned_kind = Int8SlidingLayer.pruned_kind = Int8PrunedLayer

_KINDS: dict[type, type] = {
    DynamicLayer: Int8Layer,
    DynamicSlidingWindowLayer: Int8SlidingLayer,
    PrunedLayer: Int8PrunedLayer,
}


def convert_cache(cache: object) -> DynamicCache:
    """Let a dynamic cache, empty or filled, go on in 8 bits, in place.

    Raises:
        CacheError: If it is of another kind.
    """
    if type(cache) is not DynamicCache or cache.offloading:
        raise CacheError(
            "A cache in 8 bits is a dynamic one that is not offloaded.",
            given=type(cache).__name__,
            mend="Pass a transformers.DynamicCache, or none: the model makes one.",
        )
    for layer in cache.layers:
        _convert_layer(layer)
    if cache.layer_class_to_replicate is DynamicLayer:
        cache.layer_class_to_replicate = Int8Layer
    return cache


class WornCache:
    """A decoder whose caches are kept in 8 bits. `take_off` gives the very same model back.

    Caches that it has filled stay in 8 bits, and go on with the plain model.
    """

    def __init__(self, located: Located) -> None:
        self._base, self._plain = located.base, type(located.base)
        located.base.__class__ = _caching_class(self._plain)

    def take_off(self) -> None:
        """Give the model its own class back."""
        self._base.__class__ = self._plain


def _caching_class(plain: type[nn.Module]) -> type[nn.Module]:
    names = list(inspect.signature(plain.forward).parameters)[1:]

    class Caching(plain):  # type: ignore[misc, valid-type]
        _rheostat_int8_cache = True

        @functools.wraps(plain.forward)
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            named = {**dict(zip(names, args, strict=False)), **kwargs}
            cache = named.get("past_key_values")
            if cache is None and _wants_cache(self, named.get("use_cache")):
                cache = DynamicCache(config=self.config)
            if cache is not None:
                named["past_key_values"] = convert_cache(cache)
            return plain.forward(self, **named)

    # Saving writes the class's name into config.json, and device maps go by it.
    Caching.__name__, Caching.__qualname__, Caching.__module__ = plain.__name__, plain.__qualname__, plain.__module__
    return Caching


def _wants_cache(model: Any, asked: bool | None) -> bool:
    if getattr(model, "gradient_checkpointing", False) and model.training:
        return False
    return bool(model.config.use_cache if asked is None else asked)


def _with_new(packed: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    held = packed.shape[-2] - new.shape[-2]
    return torch.cat([unpack(packed[..., :held, :], new.dtype), new], dim=-2) if held > 0 else new


def _convert_layer(layer: Any) -> None:
    if isinstance(layer, _Packing):
        return
    if type(layer) not in _KINDS:
        raise CacheError(
            "A cache in 8 bits has plain dynamic layers.", given=type(layer).__name__, mend="Start a new cache."
        )
    layer.__class__ = _KINDS[type(layer)]
    if layer.is_initialized and layer.keys.numel():
        layer.keys, layer.values = pack(layer.keys), pack(layer.values)
