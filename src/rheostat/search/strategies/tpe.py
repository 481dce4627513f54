"""Tree-structured Parzen estimator, Optuna's own: https://doi.org/10.48550/arXiv.2304.11127."""

from __future__ import annotations

from typing import Any

from rheostat.core.space import Space
from rheostat.search.strategies.sampled import SampledStrategy
from rheostat.search.strategies.strategy import Hints

__all__ = ["TPEStrategy"]


class TPEStrategy(SampledStrategy):
    """Asks Optuna's TPE sampler, as it comes; see `SampledStrategy` for arguments and duplicates."""

    def __init__(self, space: Space, objectives: int, *, seed: int, hints: Hints) -> None:
        super().__init__(space, objectives, seed=seed, hints=hints, make=_sampler)


def _sampler(optuna: Any, seed: int) -> Any:
    return optuna.samplers.TPESampler(seed=seed)
