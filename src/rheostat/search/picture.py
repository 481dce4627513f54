"""Where a search stands: every configuration judged by the goals, from nothing but the trials."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from rheostat.core.goals import LimitVerdict
from rheostat.core.metrics import Metric
from rheostat.core.pareto import front
from rheostat.core.result import Binding, Finding
from rheostat.core.score import ALLOWED_LOSS, QUALITY
from rheostat.core.trial import Trial
from rheostat.search.evidence import Evidence, gathered, improvements, optimistic
from rheostat.search.problem import Problem
from rheostat.search.schedule import Candidate

__all__ = ["Picture", "picture_of"]


@dataclass(frozen=True)
class Picture:
    """A search's state of knowledge.

    Attributes:
        problem: What is searched.
        evidence: Every configuration that was tried, by key.
    """

    problem: Problem
    evidence: Mapping[str, Evidence]

    @cached_property
    def baseline(self) -> Evidence | None:
        """The default configuration; None while it was not measured in full."""
        found = self.evidence.get(self.problem.space.key({}))
        return found if found is not None and found.full else None

    @property
    def baseline_metrics(self) -> Mapping[str, Metric]:
        """What relative limits and gains refer to; empty while there is none."""
        return {} if self.baseline is None else self.baseline.metrics

    @cached_property
    def gains(self) -> Mapping[str, float] | None:
        """By how much metrics got better from a first look to the full measurement; None where nobody knows yet."""
        return improvements(self.evidence.values(), self.problem.low)

    @cached_property
    def candidates(self) -> list[Candidate]:
        """Every configuration, as the schedule sees it."""
        return [self._candidate(key, one) for key, one in self.evidence.items()]

    @cached_property
    def kept(self) -> list[Evidence]:
        """What keeps every limit, measured in full, with every objective; the best to recommend first."""
        found = [one for one in self.complete if self.excess(one) == 0.0]
        points = [self._values(one) for one in found]
        leading = set(front(points))
        order = sorted(range(len(found)), key=lambda at: (at not in leading, *self._rank(found[at])))
        return [found[at] for at in order]

    @cached_property
    def complete(self) -> list[Evidence]:
        """What was measured in full with every objective, whether it keeps the limits or not."""
        full = [one for one in self.evidence.values() if one.full]
        return [one for one in full if self.problem.goals.values(self.verdict(one)) is not None]

    @cached_property
    def front(self) -> list[Evidence]:
        """What of `kept` nothing else of it beats on every objective, the best to recommend first."""
        leading = set(front([self._values(one) for one in self.kept]))
        return [one for at, one in enumerate(self.kept) if at in leading]

    def verdict(self, one: Evidence) -> Mapping[str, Metric]:
        """Return what limits and gains are judged on: of the baseline, which nobody chose, all measurements."""
        found = one.verdict_metrics
        return one.metrics if one is self.baseline and found else found

    def confirmed(self, one: Evidence) -> bool:
        """Whether it was measured again after it was chosen, as often as that takes."""
        return len(one.confirmations) >= self.problem.confirmations

    def excess(self, one: Evidence) -> float:
        """Return by how much it passes the limits, by what counts as the verdict."""
        return self.problem.goals.excess(self.verdict(one), self.baseline_metrics)

    def broken(self, one: Evidence) -> list[LimitVerdict]:
        """Return the limits that it breaks, the worst first."""
        verdicts = self.problem.goals.verdicts(self.verdict(one), self.baseline_metrics)
        return sorted((each for each in verdicts if not each.kept), key=lambda each: -each.excess)

    def finding(self, one: Evidence) -> Finding:
        """Return what is known of a configuration, as a result tells it."""
        metrics = self.verdict(one)
        return Finding(
            one.number,
            one.configuration,
            metrics,
            self.problem.score(one.configuration, metrics, self.baseline_metrics),
            self.problem.preference(one.configuration, metrics, self.baseline_metrics),
            self.excess(one),
            self.confirmed(one),
            one.trials[0].strategy,
        )

    def blocking(self) -> Binding | None:
        """Return the limit that nothing keeps, at the point that passes the limits least; None where there is none."""
        tried = [one for one in self.evidence.values() if one.full]
        ordered = sorted(tried, key=lambda one: (self.excess(one), one.number))
        if not ordered or not (broken := self.broken(ordered[0])):
            return None
        worst = broken[0]
        return Binding(worst.limit, _finite(worst.asked), worst.found, self.finding(ordered[0]), _finite(worst.excess))

    def beyond(self, recommended: Evidence) -> Binding | None:
        """Return the limit that, relaxed the least, would buy something better than what is recommended."""
        found = self._beyond(recommended, self.complete)
        if found is None:
            return None
        verdict, here, there = self.broken(found)[0], self.finding(recommended), self.finding(found)
        bought = self._bought(here, there)
        return Binding(verdict.limit, verdict.asked, verdict.found, there, verdict.excess, bought)

    def tempting(self, recommended: Evidence) -> Evidence | None:
        """Return what was only looked at and seems to be what relaxing a limit would buy; None where that is known."""
        if self._beyond(recommended, self.complete) is not None:
            return None
        return self._beyond(
            recommended, [one for one in self.evidence.values() if 0 < one.fidelity < 1.0 and not one.failed]
        )

    def _beyond(self, recommended: Evidence, others: Iterable[Evidence]) -> Evidence | None:
        """Return what is better and breaks one limit alone, by the least."""
        least = self.finding(recommended).preference or 0.0
        found = []
        for one in others:
            broken = self.broken(one)
            if len(broken) != 1 or not math.isfinite(broken[0].excess) or self._lost_too_much(one) > 0.0:
                continue
            if (self.finding(one).preference or 0.0) > least:
                found.append((broken[0].excess, one.number, one))
        return min(found, key=lambda each: each[:2])[2] if found else None

    def _bought(self, here: Finding, there: Finding) -> dict[str, float]:
        found = {}
        for objective in self.problem.goals.objectives:
            before, after = here.metrics[objective.metric].value, there.metrics[objective.metric].value
            if before and after and objective.sign * (after - before) < 0:
                found[objective.metric] = after / before
        return found

    def _values(self, one: Evidence) -> tuple[float, ...]:
        return self.problem.goals.values(self.verdict(one)) or ()

    def _lost_too_much(self, one: Evidence) -> float:
        """Return the points of quality beyond AE-LLM's bound, where nothing else looks after quality."""
        if not self.problem.guards_quality:
            return 0.0
        lost = self.problem.score(one.configuration, self.verdict(one), self.baseline_metrics).lost
        return 0.0 if lost is None else max(0.0, lost - ALLOWED_LOSS)

    def _rank(self, one: Evidence) -> tuple[float, float, int]:
        found = self.problem.preference(one.configuration, self.verdict(one), self.baseline_metrics)
        return self._lost_too_much(one), -(found or 0.0), one.number

    def _candidate(self, key: str, one: Evidence) -> Candidate:
        goals, baseline = self.problem.goals, self.baseline_metrics
        if one.fidelity == 0.0:
            return Candidate(key, 0.0, failed=True)
        more = {} if one.full else self.gains
        intervals = [objective.interval(one.metrics) for objective in goals.objectives]
        # Where nobody knows what more training gives, it may give anything.
        hoped = optimistic(one.metrics, more or {})
        unknown = more is None
        best = goals.values(hoped)
        return Candidate(
            key,
            one.fidelity,
            len(one.counted),
            one.failed,
            tuple(-math.inf for _ in best) if unknown and best is not None else best,
            None if None in intervals else tuple(each for each in intervals if each is not None),
            self.excess(one),
            0.0 if unknown else goals.excess(hoped, baseline),
            self._preferences(one, hoped),
            # Quality is judged on the same rows every time: measuring again decides nothing.
            any(limit.metric not in QUALITY for limit in one.straddled(goals.limits, baseline)),
            self.confirmed(one),
        )

    def _preferences(self, one: Evidence, hoped: Mapping[str, Metric]) -> tuple[float, float, float] | None:
        feared = {name: _worse(metric, hoped[name]) for name, metric in one.metrics.items()}
        found = [
            self.problem.preference(one.configuration, metrics, self.baseline_metrics)
            for metrics in (one.metrics, feared, hoped)
        ]
        value, low, high = found
        return None if value is None or low is None or high is None else (value, low, high)


def picture_of(problem: Problem, trials: list[Trial]) -> Picture:
    """Return where a search stands after some trials."""
    return Picture(problem, gathered(trials, problem.space))


def _worse(metric: Metric, hoped: Metric) -> Metric:
    """Return a metric at the other end of its interval than what is hoped."""
    if metric.value is None or metric.low is None or metric.high is None or hoped.value is None:
        return metric
    return replace(metric, value=metric.low if hoped.value > metric.value else metric.high, low=None, high=None)


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
