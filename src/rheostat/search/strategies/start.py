"""Where a search starts that knows nothing: the plain configuration, the other extreme, and far from both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from rheostat.core.knob import Value
from rheostat.core.space import Axis, Space
from rheostat.search.strategies.codes import Codec, Floats
from rheostat.search.strategies.memory import Memory
from rheostat.search.strategies.strategy import Configuration

__all__ = ["extreme", "farthest", "starts"]

_CROWD = 500


def starts(space: Space) -> Iterator[dict[str, Value]]:
    """Yield the plain configuration, then the one that differs most from it."""
    yield space.default
    yield space.canonical({axis.name: extreme(axis) for axis in space.axes})


def extreme(axis: Axis) -> Value:
    """Return the value that is farthest from the default: the other end, or another one.

    Example:
        >>> extreme(Axis("tokens", "inference", (0.25, 0.5, 1.0), 1.0))
        0.25
    """
    at = axis.values.index(axis.default)
    ends = (0, len(axis.values) - 1)
    return axis.values[max(ends, key=lambda end: abs(end - at))]


def farthest(codec: Codec, memory: Memory, seen: Sequence[Configuration], source: np.random.Generator) -> int | None:
    """Return the place in ``memory.all`` of the fresh configuration that is least like everything seen.

    Args:
        codec: Of the space.
        memory: With a listed space.
        seen: Canonical configurations.
        source: Breaks ties: looks at 500 fresh ones at most.
    """
    places = np.flatnonzero(np.frombuffer(memory.open, dtype=np.uint8))
    if not len(places) or memory.all is None:
        return None
    chosen = source.permutation(places)[:_CROWD]
    there = _spread(codec, [memory.all[at] for at in chosen])
    here = _spread(codec, seen)
    distances = np.abs(there[:, None, :] - here[None, :, :]).sum(2)
    # The nearest counts; among equals the mean does.
    return int(chosen[np.lexsort((-distances.mean(1), -distances.min(1)))[0]])


def _spread(codec: Codec, configurations: Sequence[Configuration]) -> Floats:
    """Return ``[configurations, columns]``: ordered axes as shares, others a column for each value, halved."""
    codes = codec.encode(configurations)
    parts: list[Floats] = []
    for column, size in enumerate(codec.sizes()):
        if codec.ordered(column):
            parts.append(codes[:, [column]] / (size - 1))
        else:
            parts.append(np.eye(size + 1)[codes[:, column] + 1] / 2)
    return np.hstack(parts)
