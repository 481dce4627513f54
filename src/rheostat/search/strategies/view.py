"""What the measurements so far say of everything else: a model for each objective and limit, and the front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from rheostat.core.pareto import front
from rheostat.search.strategies.codes import Codec, Codes, Floats
from rheostat.search.strategies.gain import Futures, covered
from rheostat.search.strategies.predictor import Predictor
from rheostat.search.strategies.strategy import Hints, Outcome
from rheostat.search.strategies.trend import Points

__all__ = ["Costs", "View", "look"]

_FEWEST: Final = 4
_PROBES: Final = 512
_PASSED: Final = 1e6
"""A missing metric passes its limit without bound; a model needs a number."""


class Costs:
    """What the cost model says, asked once for each configuration.

    Args:
        codec: Of the space.
        hints: Whose ``predict`` is asked, where there is one.
    """

    def __init__(self, codec: Codec, hints: Hints) -> None:
        self.codec, self.hints = codec, hints
        self._known: dict[bytes, Mapping[int, float]] = {}

    def points(self, codes: Codes, at: int, scale: tuple[float, float] | None) -> Points:
        """Return what the model of an objective looks at; ``scale`` as `scale` gave it."""
        if scale is None:
            return Points(codes)
        found = self._logs(codes, at)
        return Points(codes, np.where(np.isnan(found), 0.0, (found - scale[0]) / scale[1]))

    def scale(self, codes: Codes, at: int) -> tuple[float, float] | None:
        """Return mean and spread of what is said of an objective; None where nothing is, or always the same."""
        found = self._logs(codes, at)
        found = found[~np.isnan(found)]
        return (float(found.mean()), float(found.std())) if len(found) and found.std() > 1e-9 else None

    def _logs(self, codes: Codes, at: int) -> Floats:
        if self.hints.predict is None:
            return np.full(len(codes), np.nan)
        values = [self._of(row).get(at, np.nan) for row in codes]
        found = np.array(values, dtype=np.float64)
        # What is better the higher it is comes turned, as negative numbers.
        logs: Floats = np.sign(found) * np.log(np.maximum(np.abs(found), 1e-300))
        return logs

    def _of(self, row: Codes) -> Mapping[int, float]:
        key = row.tobytes()
        if key not in self._known and self.hints.predict is not None:
            self._known[key] = self.hints.predict(self.codec.decode(row))
        return self._known[key]


@dataclass(frozen=True)
class View:
    """Models of everything, fitted.

    Attributes:
        costs: What the cost model says.
        models: One for each objective.
        limits: One for each limit, of what is measured over what is asked, and one for failures where there were any.
        front: ``[points, objectives]``: what is measured and keeps every limit.
        reference: ``[objectives]``: the worst values seen.
        scales: Of what the cost model says, for each model.
    """

    costs: Costs
    models: tuple[Predictor, ...]
    limits: tuple[Predictor, ...]
    front: Floats
    reference: Floats
    scales: tuple[tuple[float, float] | None, ...]

    def mean(self, codes: Codes) -> Floats:
        """Return expected objectives, ``[candidates, objectives]``."""
        return np.stack([model.mean(self._points(codes, at)) for at, model in enumerate(self.models)], axis=1)

    def hope(self, codes: Codes, reach: float) -> Floats:
        """Return objectives as good as is still likely, ``[candidates, objectives]``."""
        parts = [model.optimistic(self._points(codes, at), reach) for at, model in enumerate(self.models)]
        return np.stack(parts, axis=1)

    def excess(self, codes: Codes, reach: float = 0.0) -> Floats:
        """Return by how much limits are expected to be passed, in all, ``[candidates]``; 0 where they are kept."""
        found = np.zeros(len(codes))
        for at, model in enumerate(self.limits, len(self.models)):
            found += np.maximum(model.optimistic(self._points(codes, at), reach) - 1.0, 0.0)
        return found

    def promising(self, codes: Codes, count: int, reach: float, source: np.random.Generator) -> Codes:
        """Return the places of the candidates nearest to the front to come.

        Half are those that reach most where they are as good as is still likely, the rest those that are expected to.
        """
        places: list[int] = []
        passed = self.excess(codes, reach)
        for values, share in ((self.hope(codes, reach), 0.5), (self.mean(codes), 1.0)):
            reached = self._reached(values, source)
            # Who passes limits for sure comes last, and who passes them least comes first of these.
            order = np.lexsort((-reached, passed))
            fresh = [int(place) for place in order if place not in set(places)]
            places += fresh[: int(count * share) - len(places)]
        return np.array(places, dtype=np.int64)

    def futures(self, codes: Codes, count: int, spread: float, source: np.random.Generator) -> Futures:
        """Return draws of what may be true, objectives nearer to what is expected by ``spread``; at 0 only the latter.

        Whether limits are kept is drawn as uncertain as it is.
        """
        expected = self.mean(codes)[None]
        points = [self._points(codes, at) for at in range(len(self.models) + len(self.limits))]
        if spread > 0:
            models = zip((*self.models, *self.limits), points, strict=True)
            drawn = [model.samples(one, count, source) for model, one in models]
            values = expected + spread * (np.stack(drawn[: len(self.models)], axis=2) - expected)
            margins = drawn[len(self.models) :]
        else:
            values = expected
            limits = zip(self.limits, points[len(self.models) :], strict=True)
            margins = [model.mean(one)[None, :] for model, one in limits]
        kept = np.ones(values.shape[:2], dtype=np.bool_)
        for margin in margins:
            kept &= margin <= 1.0
        return Futures(values, kept, self.excess(codes))

    def _reached(self, values: Floats, source: np.random.Generator) -> Floats:
        """Return how much each would add to the front, roughly, ``[candidates]``."""
        low = values.min(0)
        probes = low + source.random((16 * _PROBES, len(low))) * (self.reference - low)
        probes = probes[~covered(self.front, probes)][:_PROBES]
        found: Floats = np.zeros(len(values))
        for start in range(0, len(values), 2048):
            part = values[start : start + 2048]
            inside = np.ones((len(part), len(probes)), dtype=np.bool_)
            for objective in range(values.shape[1]):
                inside &= part[:, objective, None] <= probes[None, :, objective]
            found[start : start + 2048] = inside.sum(1)
        return found

    def _points(self, codes: Codes, at: int) -> Points:
        return self.costs.points(codes, at, self.scales[at])


def look(costs: Costs, outcomes: Sequence[Outcome], objectives: int, seed: int, boosted: bool) -> View | None:
    """Return models of what was told; None where fewer than four measurements worked.

    Args:
        costs: What the cost model says.
        outcomes: Everything told.
        objectives: How many there are.
        seed: Of the models.
        boosted: Whether trees correct the trends.
    """
    good = [one for one in outcomes if one.values is not None]
    whole = np.array([one.fidelity >= 1.0 for one in good], dtype=np.bool_)
    if whole.sum() < _FEWEST:
        return None
    values = np.array([one.values for one in good], dtype=np.float64)
    kept = whole & np.array([one.excess == 0.0 for one in good], dtype=np.bool_)
    targets = [(good, column) for column in (*values.T, *_shares(good))]
    targets += [(list(outcomes), _failures(outcomes))] if len(good) < len(outcomes) else []
    models, scales = [], []
    for at, (told, column) in enumerate(targets):
        codes = costs.codec.encode([one.configuration for one in told])
        scales.append(costs.scale(codes, at))
        models.append(Predictor(costs.codec, costs.hints.depends.get(at), seed=seed, boosted=boosted))
        models[-1].fit(costs.points(codes, at, scales[-1]), column, np.array([one.fidelity for one in told]))
    reached = values[kept][front(values[kept].tolist())]
    return View(
        costs, tuple(models[:objectives]), tuple(models[objectives:]), reached, values[whole].max(0), tuple(scales)
    )


def _shares(outcomes: Sequence[Outcome]) -> list[Floats]:
    """Return, for each limit, what was measured over what is asked: above 1 it is passed."""
    margins = [one.margins for one in outcomes if one.margins is not None]
    if len(margins) == len(outcomes):
        return [1.0 + column for column in np.array(margins, dtype=np.float64).T]
    excess = np.array([min(one.excess, _PASSED) for one in outcomes])
    if not excess.any():
        return []
    # All that keeps the limits looks the same: as far inside as others are typically outside.
    return [np.where(excess > 0, 1.0 + excess, 1.0 - min(float(np.median(excess[excess > 0])), 0.9))]


def _failures(outcomes: Sequence[Outcome]) -> Floats:
    return np.array([0.0 if one.values is not None else 2.0 for one in outcomes])
