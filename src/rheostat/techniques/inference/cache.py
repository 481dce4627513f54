"""The key-value cache in fewer bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

from torch import nn

from rheostat.core.errors import SettingError, UnsupportedModelError
from rheostat.core.knob import Knob
from rheostat.core.space import Exclusion
from rheostat.models.families import locate
from rheostat.models.int8_cache import WornCache
from rheostat.techniques.contract import Conversion, Converted, Restriction, Target

__all__ = ["CachePrecision"]


@final
@dataclass(frozen=True, slots=True)
class CachePrecision(Conversion):
    """Keep the keys and values of a decoder in 8 bits: about a quarter of the memory of float32, half of bfloat16.

    Each key and value of a head has its own scale. Unlike KIVI (https://arxiv.org/abs/2402.02750), which goes down to 2
    bits, keys are scaled a token, not a channel: so no recent tokens are kept back in full precision, and a token may
    be dropped, reordered or rolled back at any time. The tokens of one forward see each other exactly: a prompt alone
    gives what the plain model gives. It saves memory, not time: the states are unpacked for each forward.

    It goes together with the token dial, whose pruned cache is kept in 8 bits then, and with every precision.

    Attributes:
        cache: ``"plain"``, or ``"int8"``.

    Raises:
        SettingError: If the setting is unfit.

    Example:
        >>> CachePrecision("int8").to_json()
        {'name': 'cache', 'cache': 'int8'}
    """

    cache: str = "plain"

    name: ClassVar[str] = "cache"
    stage: ClassVar[Literal["inference"]] = "inference"
    summary: ClassVar[str] = "keep the key-value cache in fewer bits"
    knobs: ClassVar[tuple[Knob, ...]] = (
        Knob("cache", "how keys and values are kept", "plain", choices=("plain", "int8")),
    )

    @property
    def error_bound(self) -> float:
        """Largest relative error that it states for the tiny models of `rheostat.testing`."""
        return 0.0 if self.cache == "plain" else 0.05

    @classmethod
    def restrictions(cls, target: Target) -> tuple[Restriction, ...]:
        """Leave the cache alone where there is none: in an encoder, and in a classifier, which reads its text once."""
        if target.family.kind == "encoder":
            return (
                Exclusion("cache", None, f"a key-value cache is what a decoder has, and {target.family.label} is none"),
            )
        if target.task == "classification":
            return (Exclusion("cache", None, "a classifier reads its text in one forward, without a cache"),)
        return ()

    def convert(self, model: nn.Module) -> Converted:
        """Let a decoder keep its caches in 8 bits.

        Raises:
            UnsupportedModelError: If the family is not supported, or keeps no cache.
            SettingError: If the model does it already.
        """
        if self.cache == "plain":
            return _OnCache(None)
        located = locate(model)
        if located.family.kind != "decoder":
            raise UnsupportedModelError(
                "A key-value cache is what a decoder has.",
                given=located.family.label,
                mend="Leave the cache at 'plain' for an encoder.",
            )
        if getattr(type(located.base), "_rheostat_int8_cache", False):
            raise SettingError(
                "A model wears each technique once.",
                given="a model whose cache is kept in 8 bits",
                mend="Detach the handle that did it first.",
            )
        return _OnCache(WornCache(located))


class _OnCache(Converted):
    def __init__(self, worn: WornCache | None) -> None:
        self._worn = worn

    def take_off(self) -> None:
        """Give the model its own class back."""
        if self._worn is not None:
            self._worn.take_off()

    def free(self) -> None:
        """Do nothing: there are no originals."""

    def check_kept(self) -> None:
        """Do nothing: it can always be taken off."""

    def report(self) -> dict[str, Any]:
        """Return how the cache is kept."""
        return {"technique": CachePrecision.name, "cache": "plain" if self._worn is None else "int8"}
