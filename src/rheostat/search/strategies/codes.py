"""Configurations as rows of whole numbers: what models and genetic operators count with."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from rheostat.core.knob import Value
from rheostat.core.space import Space
from rheostat.search.strategies.strategy import Configuration

__all__ = ["Codec", "Codes", "Floats"]

Codes = NDArray[np.int64]
"""``[configurations, axes]``: the index of the value; -1 where the axis means nothing."""

Floats = NDArray[np.float64]


class Codec:
    """Turns configurations of a space into codes and back.

    Args:
        space: The space.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self._indices = [{value: at for at, value in enumerate(axis.values)} for axis in space.axes]

    def encode(self, configurations: Sequence[Configuration]) -> Codes:
        """Return codes of canonical configurations, ``[configurations, axes]``."""
        pairs = list(zip(self.space.axes, self._indices, strict=True))
        rows = [
            [indices[one[axis.name]] if axis.name in one else -1 for axis, indices in pairs] for one in configurations
        ]
        return np.array(rows, dtype=np.int64).reshape(len(rows), len(pairs))

    def decode(self, row: NDArray[np.int64]) -> dict[str, Value]:
        """Return the canonical configuration of one row; a missing code is the default."""
        codes = zip(self.space.axes, row.tolist(), strict=True)
        return self.space.canonical({axis.name: axis.values[code] for axis, code in codes if code >= 0})

    def columns(self, names: Collection[str] | None) -> list[int]:
        """Return the columns of some axes; of all where None."""
        return [at for at, axis in enumerate(self.space.axes) if names is None or axis.name in names]

    def ordered(self, column: int) -> bool:
        """Whether neighbouring codes of a column are similar and there is a between."""
        axis = self.space.axes[column]
        return axis.ordered and len(axis.values) > 2

    def sizes(self) -> list[int]:
        """Return how many values each axis has."""
        return [len(axis.values) for axis in self.space.axes]
