"""What a search knows: its trials as they come in, and what a strategy learns from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rheostat.core.trial import Trial
from rheostat.search.evidence import Evidence
from rheostat.search.picture import Picture
from rheostat.search.problem import Problem
from rheostat.search.strategies.strategy import Outcome

__all__ = ["Knowledge"]


class Knowledge:
    """The trials of a search.

    Args:
        problem: What is searched.
        trials: Those that are there.

    Attributes:
        trials: All of them, in the order in which they became known.
    """

    def __init__(self, problem: Problem, trials: Iterable[Trial] = ()) -> None:
        self._problem = problem
        self.trials: list[Trial] = []
        self._evidence: dict[str, Evidence] = {}
        self._drawn: Picture | None = None
        for trial in trials:
            self.add(trial)

    def add(self, trial: Trial) -> None:
        """Learn of a trial."""
        key = self._problem.space.key(trial.configuration)
        before = self._evidence[key].trials if key in self._evidence else ()
        self._evidence[key] = Evidence(trial.configuration, (*before, trial))
        self.trials.append(trial)
        self._drawn = None

    def accept(self, confirmations: int) -> None:
        """Let so many measurements confirm a recommendation from now on."""
        self._problem = replace(self._problem, confirmations=confirmations)
        self._drawn = None

    @property
    def picture(self) -> Picture:
        """Where the search stands."""
        if self._drawn is None:
            self._drawn = Picture(self._problem, dict(self._evidence))
        return self._drawn

    def outcomes(self, trials: Sequence[Trial]) -> list[Outcome]:
        """Return what a strategy learns from trials: each configuration once for each fidelity, repeats together."""
        found: dict[tuple[str, float], Outcome] = {}
        for trial in trials:
            key = self._problem.space.key(trial.configuration)
            found[key, trial.fidelity] = self._outcome(self._evidence[key], trial.fidelity)
        return list(found.values())

    def _outcome(self, evidence: Evidence, fidelity: float) -> Outcome:
        metrics, goals = evidence.at(fidelity), self._problem.goals
        values = None if metrics is None else goals.values(metrics)
        if metrics is None or values is None:
            return Outcome(evidence.configuration, None, math.inf, fidelity)
        baseline = self.picture.baseline_metrics
        ends = [objective.interval(metrics) for objective in goals.objectives]
        return Outcome(
            evidence.configuration,
            values,
            goals.excess(metrics, baseline),
            fidelity,
            tuple(each for each in ends if each is not None),
            goals.margins(metrics, baseline),
        )
