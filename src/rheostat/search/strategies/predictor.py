"""What is known of one objective: a smooth trend, boosted trees on what it leaves, and how sure both are."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

import numpy as np

from rheostat.core.extras import require
from rheostat.search.strategies.codes import Codec, Codes, Floats
from rheostat.search.strategies.trend import Points, Trend, fit_trends

__all__ = ["Predictor"]

MEMBERS: Final = 8
"""Draws of the trend's settings, each with its own trees."""

_TREES: Final[dict[str, Any]] = {
    "n_estimators": 30,
    "learning_rate": 0.1,
    "max_depth": 3,
    "subsample": 0.8,
    "min_samples_leaf": 2,
}

_PARTIAL: Final = 10.0
"""Variance of a value that was measured in part only, over that of a whole one."""


class Predictor:
    """Predicts one objective.

    Configurations that agree in the axes that it depends on share what was measured. Positive values are looked at as
    logarithms, since costs multiply; negative ones, too, where they differ much: a speed-up is turned to be lower.

    Args:
        codec: Of the space.
        depends: The axes that it can depend on; all where None.
        seed: Of every draw.
        boosted: Whether trees correct the trend.
    """

    def __init__(self, codec: Codec, depends: Collection[str] | None, *, seed: int, boosted: bool = True) -> None:
        self._codec, self._seed, self._boosted = codec, seed, boosted
        self.columns = tuple(codec.columns(depends))
        self._members: list[Trend] = []
        self._trees: list[Any] = []
        self._sign = 0
        self._ends = (0.0, 0.0)

    def fit(self, points: Points, values: Floats, fidelities: Floats) -> None:
        """Learn from measurements.

        Args:
            points: What was measured.
            values: ``[points]``.
            fidelities: ``[points]``, in (0, 1].
        """
        self._sign = _sign(values)
        seen = self._sign * np.log(self._sign * values) if self._sign else values
        first, groups = _groups(points.codes[:, self.columns])
        trust = np.where(fidelities < 1.0, 1 / _PARTIAL, 1.0)
        weights: Floats = np.bincount(groups, trust).astype(np.float64)
        means = np.bincount(groups, trust * seen) / weights
        self._ends = _reach(means)
        kept = points[first]
        weighed = fit_trends(self._codec, self.columns, kept, means, 1 / weights)
        self._members = _drawn(weighed, MEMBERS)
        self._trees = self._corrections(kept, means, weights) if self._boosted else []

    def mean(self, points: Points) -> Floats:
        """Return the expected values, ``[points]``."""
        distinct = {id(trend): trend for trend in self._members}
        counts = {one: sum(id(trend) == one for trend in self._members) for one in distinct}
        parts = [counts[one] * trend.mean(points) for one, trend in distinct.items()]
        return self._out(np.sum(parts, axis=0) / len(self._members) + self._correction(points))

    def optimistic(self, points: Points, reach: float) -> Floats:
        """Return the values that are still likely, lower than expected by ``reach`` standard deviations."""
        trend = self._members[0]
        return self._out(trend.mean(points) + self._correction(points) - reach * trend.spread(points))

    def samples(self, points: Points, count: int, source: np.random.Generator) -> Floats:
        """Return values that may all be true together, ``[count, points]``.

        Args:
            points: Where; up to a few hundred that differ in the axes that it depends on.
            count: How many draws.
            source: Of the draws.
        """
        first, groups = _groups(points.codes[:, self.columns])
        distinct = points[first]
        drawn = np.empty((count, len(first)))
        members = [self._members[at % len(self._members)] for at in range(count)]
        for trend in {id(member): member for member in members}.values():
            rows = [at for at, member in enumerate(members) if member is trend]
            drawn[rows] = _draws(trend, distinct, len(rows), source)
        return self._out(drawn + self._correction(distinct))[:, groups]

    def _out(self, values: Floats) -> Floats:
        """Return values as they were told, and no wilder than what was seen allows."""
        kept = np.clip(values, *self._ends)
        return self._sign * np.exp(self._sign * kept) if self._sign else kept

    def _correction(self, points: Points) -> Floats:
        if not self._trees:
            return np.zeros(len(points.codes))
        features = self._features(points)
        return np.mean([tree.predict(features) for tree in self._trees], axis=0)  # type: ignore[no-any-return]

    def _corrections(self, points: Points, values: Floats, weights: Floats) -> list[Any]:
        sklearn, ensemble = (require(name, extra="search") for name in ("sklearn", "sklearn.ensemble"))
        features = self._features(points)
        trees = []
        for seed, trend in enumerate(self._members[:: max(1, len(self._members) // 2)]):
            trees.append(ensemble.GradientBoostingRegressor(random_state=self._seed + seed, **_TREES))
            # Checking the parameters of each tree takes longer than growing it.
            with sklearn.config_context(skip_parameter_validation=True, assume_finite=True):
                trees[-1].fit(features, values - trend.mean(points), sample_weight=weights)
        return trees

    def _features(self, points: Points) -> Floats:
        """Return ``[points, features]``: a rank for ordered axes, a column a value for others."""
        parts: list[Floats] = []
        for column in self.columns:
            codes = points.codes[:, column]
            if self._codec.ordered(column):
                parts.append(codes[:, None].astype(np.float64))
            else:
                parts.append(np.eye(self._codec.sizes()[column] + 1)[codes + 1][:, 1:])
        if points.predicted is not None:
            parts.append(points.predicted[:, None])
        return np.hstack(parts) if parts else np.zeros((len(points.codes), 1))


def _sign(values: Floats) -> int:
    """Return the sign that all values have, where their logarithms say more than they do; else 0."""
    if np.all(values > 0):
        return 1
    return -1 if np.all(values < 0) and values.min() < 3 * values.max() else 0


def _groups(codes: Codes) -> tuple[Codes, Codes]:
    """Return the first row of each group of equal rows, and the group of each row."""
    if codes.shape[1] == 0:
        return np.zeros(1, dtype=np.int64), np.zeros(len(codes), dtype=np.int64)
    _, first, groups = np.unique(codes, axis=0, return_index=True, return_inverse=True)
    return first, groups.reshape(-1)


def _reach(values: Floats) -> tuple[float, float]:
    """Return how far predictions may go: half the seen range beyond it."""
    low, high = float(values.min()), float(values.max())
    return low - 0.5 * (high - low), high + 0.5 * (high - low)


def _drawn(weighed: list[tuple[float, Trend]], count: int) -> list[Trend]:
    """Return as many of each trend as its probability says, the likeliest first: evenly spaced quantiles."""
    steps = np.cumsum([weight for weight, _ in weighed])
    chosen = np.searchsorted(steps, (np.arange(count) + 0.5) / count)
    return [weighed[min(int(at), len(weighed) - 1)][1] for at in chosen]


def _draws(trend: Trend, points: Points, count: int, source: np.random.Generator) -> Floats:
    sizes, turned = np.linalg.eigh(trend.covariance(points))
    root = turned * np.sqrt(np.maximum(sizes, 0.0))
    found: Floats = trend.mean(points) + source.standard_normal((count, len(points.codes))) @ root.T
    return found
