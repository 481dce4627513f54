"""The depth dial: run the first blocks only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, final

from rheostat.core.dial import Dial
from rheostat.techniques.contract import Shortening

__all__ = ["Depth"]


@final
@dataclass(frozen=True, slots=True)
class Depth(Shortening):
    """Run the first n blocks of a model, then its own final norm and head: one of the nested models of SortedNet.

    A view of the same weights: turning the dial copies nothing. What leaves block n is what it is in the whole model,
    so depth n is, bit for bit, the model whose list of blocks ends after n. Few models are any good at it as they
    come: they have to be trained at their depths.

    In a key-value cache, blocks that did not run hold nothing. So a cache goes on at the depth it was filled at or a
    smaller one, and a greater one is refused.

    Source: https://arxiv.org/abs/2309.00255 (SortedNet), https://arxiv.org/abs/2309.08968 (SoFT). Deviation: any depth
    can be asked for, trained or not.

    Example:
        >>> handle = attach(model, "tokens", "depth")  # doctest: +SKIP
        >>> handle.set(depth=4, tokens=0.8)  # doctest: +SKIP
    """

    name: ClassVar[str] = "depth"
    stage: ClassVar[Literal["inference"]] = "inference"
    summary: ClassVar[str] = "run the first blocks only, then the final norm and the head"
    dials: ClassVar[tuple[Dial, ...]] = (
        Dial("depth", "number of blocks", 1, math.inf, neutral=math.inf, moves="request", whole=True),
    )

    def depth(self, settings: Mapping[str, float]) -> int:
        """Return how many blocks a forward at this setting runs."""
        return int(settings["depth"])
