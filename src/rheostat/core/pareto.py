"""Pareto arithmetic: which points no other one beats, and how much they cover. Lower is better throughout."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

__all__ = ["crowding", "dominates", "front", "hypervolume", "surely_dominates"]

Point = Sequence[float]


def dominates(first: Point, second: Point) -> bool:
    """Whether a point is nowhere worse than another, and somewhere better.

    Args:
        first: Objectives, lower is better.
        second: As many.

    Example:
        >>> dominates((1, 2), (1, 3)), dominates((1, 2), (1, 2))
        (True, False)
    """
    pairs = list(zip(first, second, strict=True))
    return all(left <= right for left, right in pairs) and any(left < right for left, right in pairs)


def surely_dominates(first: Sequence[tuple[float, float]], second: Sequence[tuple[float, float]]) -> bool:
    """Whether a point dominates another wherever in their intervals both may lie.

    Args:
        first: The two ends of each objective's interval, lower is better.
        second: As many.

    Returns:
        True where the worst that the first may be dominates the best that the second may be. Noise that makes
        intervals overlap in one objective leaves both standing.

    Example:
        >>> surely_dominates([(1, 2), (1, 2)], [(3, 4), (2, 5)]), surely_dominates([(1, 2), (1, 3)], [(3, 4), (2, 5)])
        (True, False)
    """
    return dominates([high for _, high in first], [low for low, _ in second])


def front(points: Sequence[Point]) -> list[int]:
    """Return the indices of the points that no other one dominates, ascending.

    Args:
        points: Objectives of each point, lower is better. Equal points are all kept.

    Example:
        >>> front([(1, 3), (2, 2), (3, 3), (1, 3)])
        [0, 1, 3]
    """
    kept: list[int] = []
    # In lexicographic order nothing is dominated by what comes later.
    for index in sorted(range(len(points)), key=lambda one: tuple(points[one])):
        if not any(dominates(points[other], points[index]) for other in kept):
            kept.append(index)
    return sorted(kept)


def crowding(points: Sequence[Point]) -> list[float]:
    """Return the crowding distance of each point among the others.

    The sum over objectives of the distance between a point's two neighbours, as a share of the range; infinity at the
    ends of a range. As in NSGA-II, https://doi.org/10.1109/4235.996017.

    Example:
        >>> crowding([(0, 4), (1, 2), (4, 0)])
        [inf, 2.0, inf]
    """
    distances = [0.0] * len(points)
    for objective in range(len(points[0]) if points else 0):
        order = sorted(range(len(points)), key=lambda one: points[one][objective])
        span = points[order[-1]][objective] - points[order[0]][objective]
        distances[order[0]] = distances[order[-1]] = math.inf
        if span > 0:
            for before, here, after in zip(order, order[1:], order[2:], strict=False):
                distances[here] += (points[after][objective] - points[before][objective]) / span
    return distances


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Return the volume of what the points dominate, up to a reference point. Exact.

    Slices along the last objective, down to three objectives, which are swept: about n² log n steps for four, n³ log n
    for five.

    Args:
        points: Objectives of each point, lower is better; dominated ones and those beyond the reference add nothing.
        reference: The worst value of each objective, at least one.

    Raises:
        ValueError: If a point has another number of objectives.

    Example:
        >>> hypervolume([(1, 3), (2, 2)], (4, 4))
        5.0
    """
    if any(len(point) != len(reference) for point in points):
        raise ValueError("A point has as many objectives as the reference.")
    inside = {tuple(point) for point in points if all(map(float.__lt__, map(float, point), map(float, reference)))}
    return float(_volume(_nondominated(inside), tuple(reference)))


def _nondominated(points: set[tuple[float, ...]]) -> list[tuple[float, ...]]:
    kept: list[tuple[float, ...]] = []
    for point in sorted(points):
        if not any(all(map(float.__le__, map(float, other), map(float, point))) for other in kept):
            kept.append(point)
    return kept


def _volume(points: list[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    if not points:
        return 0.0
    if len(reference) <= 3:
        # Missing objectives are as good as can be: a thickness of one.
        missing = (0.0,) * (3 - len(reference))
        return _swept([point + missing for point in points], reference + tuple(1.0 for _ in missing))
    order = sorted(points, key=lambda point: point[-1])
    depths = [point[-1] for point in order] + [reference[-1]]
    volume, slice_front = 0.0, list[tuple[float, ...]]()
    for point, here, after in zip(order, depths, depths[1:], strict=False):
        slice_front = _joined(slice_front, point[:-1])
        if after > here:
            volume += (after - here) * _volume(slice_front, reference[:-1])
    return volume


def _joined(kept: list[tuple[float, ...]], point: tuple[float, ...]) -> list[tuple[float, ...]]:
    """Return the front of a front and one more point."""
    if any(all(left <= right for left, right in zip(other, point, strict=True)) for other in kept):
        return kept
    return [other for other in kept if any(left < right for left, right in zip(other, point, strict=True))] + [point]


def _swept(points: list[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    """Return the volume for three objectives: an area that grows along the third."""
    # The staircase of the first two objectives: x ascends, y falls; it stays between two walls.
    xs, ys = [-math.inf, reference[0]], [reference[1], -math.inf]
    order = sorted(points, key=lambda point: point[2])
    heights = [point[2] for point in order] + [reference[2]]
    area = volume = 0.0
    for (x, y, height), after in zip(order, heights[1:], strict=True):
        area += _step(xs, ys, x, y)
        volume += area * (after - height)
    return volume


def _step(xs: list[float], ys: list[float], x: float, y: float) -> float:
    """Put a point that nothing in the staircase dominates into it, and return the area that it adds."""
    at = bisect_left(xs, x)
    added, left, roof, end = 0.0, x, ys[at - 1], at
    while ys[end] >= y:
        added += (xs[end] - left) * (roof - y)
        left, roof = xs[end], ys[end]
        end += 1
    added += (xs[end] - left) * (roof - y)
    xs[at:end], ys[at:end] = [x], [y]
    return added
