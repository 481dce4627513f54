"""What a search is about, without where it runs: space, goals, budget, and what is known before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from rheostat.core.errors import SettingError
from rheostat.core.goals import Goals
from rheostat.core.knob import Value
from rheostat.core.metrics import Metric
from rheostat.core.score import QUALITY, Score, efficiency_score, preference
from rheostat.core.space import Space, Stage
from rheostat.search.strategies.strategy import DEFAULT, Hints

__all__ = ["TRAINING", "Problem"]

TRAINING: Final[tuple[Stage, ...]] = ("architecture", "finetuning")
"""Stages whose choices need a training of their own."""


@dataclass(frozen=True)
class Problem:
    """What is searched.

    Attributes:
        space: Everything that may be tried; its default configuration is the baseline.
        goals: What to make better, and what to keep.
        digest: Hash of the scenario: a study belongs to one.
        budget: Seconds of wall-clock, from 1 on.
        scenario: The scenario as plain data.
        seed: Of everything that is drawn.
        strategy: Who proposes; see `rheostat.search.strategies.strategy.STRATEGIES`.
        hints: What is known before.
        weights: Objective to weight, for the recommendation; None for the geometric mean of what is saved.
        low: The fidelity of a first look, in (0, 1]; 1 measures everything in full at once.
        width: Measurements in a round.
        trainings: New trainings in a round at most.
        companions: Settings of the dials of what leads that are tried on a new training at once, beside what was
            proposed for it.
        confirmations: Measurements that confirm a recommendation.
        repeats: Measurements of a configuration at most, confirmations aside.
        patience: Rounds without a change of the front after which nothing is left to gain.
        rows: Rows of a request where the space has no axis ``batch``.
        bundles: Whether the evaluator has bundles, of which the recommended one is kept in the study's folder.
        simple: Measures models that cost nothing; see `rheostat.measure.baselines`. None where there is nothing to.

    Raises:
        SettingError: If a number is out of range.
    """

    space: Space
    goals: Goals
    digest: str
    budget: float
    scenario: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    strategy: str = DEFAULT
    hints: Hints = field(default_factory=Hints)
    weights: Mapping[str, float] | None = None
    low: float = 0.25
    width: int = 6
    trainings: int = 1
    companions: int = 2
    confirmations: int = 2
    repeats: int = 4
    patience: int = 12
    rows: int = 1
    bundles: bool = True
    simple: Callable[[], Mapping[str, Mapping[str, float]]] | None = None

    def __post_init__(self) -> None:
        if not self.budget > 0:
            raise SettingError("A budget is above 0 seconds.", given=self.budget, mend="For instance --budget 30min.")
        if not 0 < self.low <= 1:
            raise SettingError("The fidelity of a first look lies in (0, 1].", given=self.low)
        for name in ("width", "trainings", "confirmations", "repeats", "patience", "rows"):
            if getattr(self, name) < 1:
                raise SettingError(f"{name} is a whole number from 1.", given=getattr(self, name))

    def training(self, configuration: Mapping[str, Value]) -> str:
        """Return the name of the training that a configuration needs."""
        return repr(self.space.part(configuration, TRAINING))

    def rows_of(self, configuration: Mapping[str, Value]) -> tuple[int, int]:
        """Return the rows of a request, of a configuration and of the baseline."""
        here, there = configuration.get("batch", self.rows), self.space.default.get("batch", self.rows)
        return int(here), int(there)

    def score(
        self, configuration: Mapping[str, Value], metrics: Mapping[str, Metric], baseline: Mapping[str, Metric]
    ) -> Score:
        """Return AE-LLM's score of a configuration."""
        return efficiency_score(metrics, baseline, self.rows_of(configuration))

    def preference(
        self, configuration: Mapping[str, Value], metrics: Mapping[str, Metric], baseline: Mapping[str, Metric]
    ) -> float | None:
        """Return what the recommendation goes by."""
        rows = self.rows_of(configuration)
        return preference(self.goals.objectives, metrics, baseline, weights=self.weights, rows=rows)

    @property
    def guards_quality(self) -> bool:
        """Whether nothing else looks after quality, so that AE-LLM's bound on its loss holds for the recommendation."""
        named = {one.metric for one in self.goals.limits}
        judged = {one.metric for one in self.goals.objectives}
        return self.weights is None and not named & set(QUALITY) and bool(judged - set(QUALITY))
