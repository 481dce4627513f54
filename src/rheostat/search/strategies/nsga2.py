"""NSGA-II on measurements themselves, Optuna's own: https://doi.org/10.1109/4235.996017."""

from __future__ import annotations

from typing import Any, Final

from rheostat.core.space import Space
from rheostat.search.strategies.sampled import SampledStrategy
from rheostat.search.strategies.strategy import Hints

__all__ = ["NSGA2Strategy"]

POPULATION: Final = 20
"""Optuna's default is 50, with which the first two hundred trials are nearly random ones."""


class NSGA2Strategy(SampledStrategy):
    """Asks Optuna's NSGA-II sampler, in generations of 20; see `SampledStrategy` for arguments and duplicates."""

    def __init__(self, space: Space, objectives: int, *, seed: int, hints: Hints) -> None:
        super().__init__(space, objectives, seed=seed, hints=hints, make=_sampler)


def _sampler(optuna: Any, seed: int) -> Any:
    return optuna.samplers.NSGAIISampler(seed=seed, population_size=POPULATION)
