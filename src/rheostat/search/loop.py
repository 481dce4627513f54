"""The loop of a search: strategy, evaluator and study, round by round, until the budget is spent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from rheostat.core.errors import MeasurementError, RheostatError, SettingError
from rheostat.core.knob import Value
from rheostat.core.measurement import Measurement
from rheostat.core.metrics import Metric
from rheostat.core.result import RECOMMENDED, Finding, Result, read_result
from rheostat.core.trial import Trial
from rheostat.search.conclusion import choose, conclude
from rheostat.search.delivery import deliver, is_there
from rheostat.search.described import describe
from rheostat.search.evaluator import Evaluator, Request, fidelity_of
from rheostat.search.evidence import CONFIRMATION, Evidence
from rheostat.search.interrupts import stoppable
from rheostat.search.picture import Picture
from rheostat.search.problem import Problem
from rheostat.search.rounds import Pick, Rounds
from rheostat.search.schedule import Forecast
from rheostat.search.strategies.strategy import Hints, Outcome, Strategy, make_strategy
from rheostat.search.study import Claim, Study

__all__ = ["BASELINE", "Progress", "search"]

BASELINE: Final = "baseline"

_RESERVED_AT_MOST = 0.3
_MISSES = 5
_SPARE = 1.1
_BUDGET, _SECONDS, _SIMPLE = "budget", "seconds", "simple models"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is.

    Attributes:
        phase: ``baseline``, ``search`` or ``confirmation``.
        trials: Measurements made, failures included.
        seconds: Wall-clock so far, all runs of the study together.
        seconds_left: Of the budget.
        latest: The latest trial; None where none was made in this run.
        front: What would be the front now, the best to recommend first.
        size: Configurations of the space.
    """

    phase: Literal["baseline", "search", "confirmation"]
    trials: int
    seconds: float
    seconds_left: float
    latest: Trial | None
    front: Sequence[Finding]
    size: int


def search(
    problem: Problem,
    folder: Path,
    evaluator: Evaluator,
    *,
    progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Search until the budget is spent, the space is exhausted, or nothing is left to gain.

    A study that is there goes on: nothing is measured twice, and a finished one returns its result. Ctrl-C and SIGTERM
    end it with the result so far; running the same command again goes on.

    Args:
        problem: What is searched.
        folder: The study's folder: ``study.sqlite``, ``result.json`` and ``recommended``, a bundle that can be loaded
            at every moment from the first configuration on that keeps the limits.
        evaluator: Measures. It stays open.
        progress: Called before the first and after every measurement.
        clock: Tells seconds.

    Raises:
        SettingError: If the budget is too small for the baseline.
        StudyError: If the folder holds another scenario's study, or another optimiser works on it.
        MeasurementError: If the baseline fails, or lacks a metric that an objective or a limit is about.
    """
    _check_budget(problem, folder, evaluator)
    with Study.open(folder, problem.digest, problem.scenario) as study:
        describe(study, problem.space, problem.goals)
        loop = _Loop(problem, study, evaluator, progress or (lambda _: None), clock)
        return loop.finished() or loop.run()


def _check_budget(problem: Problem, folder: Path, evaluator: Evaluator) -> None:
    if (folder / "study.sqlite").exists():
        return
    needed = _SPARE * evaluator.price(problem.space.default)
    if problem.budget < needed:
        raise SettingError(
            "A budget is enough to measure the default configuration, its training included.",
            given=f"{problem.budget:.0f} s",
            mend=f"It takes about {math.ceil(needed)} s: use --budget {math.ceil(2 * needed / 60)}min or more.",
        )


class _Loop:
    """One run of the optimiser on a study."""

    def __init__(
        self,
        problem: Problem,
        study: Study,
        evaluator: Evaluator,
        progress: Callable[[Progress], None],
        clock: Callable[[], float],
    ) -> None:
        self._problem, self._study, self._evaluator, self._clock = problem, study, evaluator, clock
        self._show = progress
        self._trials: list[Trial] = []
        self._drawn: Picture | None = None
        self._evidence: dict[str, Evidence] = {}
        for trial in study.trials():
            self._know(trial)
        seconds, known = study.noted(_SECONDS, (0.0, 0))
        # What a kill left unsaid, the trials themselves tell.
        self._before: float = seconds + sum(trial.seconds for trial in self._trials[known:])
        self._start = clock()
        self._forecast = Forecast()
        self._misses = 0
        self._phase: Literal["baseline", "search", "confirmation"] = "baseline"
        self._latest: Trial | None = None
        self._running: set[int] = set()
        self._simple: Mapping[str, Mapping[str, float]] = study.noted(_SIMPLE, {})

    def finished(self) -> Result | None:
        """Return the result where there is nothing left to do: more budget is something to do."""
        result = read_result(self._study.folder)
        if result is None or not result.finished or self._study.counts()["PENDING"]:
            return None
        if result.ended == "budget" and self._problem.budget > self._study.noted(_BUDGET, 0.0):
            return None
        known = result.recommended if self._problem.bundles else None
        if known is not None and not is_there(self._study.folder / RECOMMENDED, known):
            return None
        return result

    def run(self) -> Result:
        """Go on until the end, and return the result."""
        try:
            with stoppable():
                ended = self._go()
        except KeyboardInterrupt:
            ended = "interrupted"
        finally:
            self._study.release(sorted(self._running))
        self._study.note(_BUDGET, self._problem.budget)
        return self._keep(ended)

    def _go(self) -> str:
        self._report()
        self._measure_claimed(self._study.claim(), {}, deadline=self._problem.budget)
        self._measure_baseline()
        self._measure_simple_models()
        self._phase = "search"
        strategy = self._strategy()
        rounds = Rounds(self._problem, self._evaluator, strategy, self._study)
        ended = ""
        while not ended:
            ended = self._round(rounds, strategy)
        self._phase = "confirmation"
        self._report()
        self._confirm()
        return ended

    def _round(self, rounds: Rounds, strategy: Strategy) -> str:
        """Measure one round; return why the search ends, or nothing."""
        if rounds.settled(self._picture):
            return "settled"
        picks = rounds.picks(self._picture)
        if not picks:
            return "exhausted"
        left = self._left - self._reserve()
        fitting = self._forecast.fitting([pick.price for pick in picks], left)
        if not fitting:
            # Something cheaper may be asked for next.
            self._misses += 1
            return "budget" if self._misses >= _MISSES else ""
        self._misses = 0
        before = len(self._trials)
        self._measure([picks[at] for at in fitting], deadline=self._problem.budget - self._reserve())
        strategy.tell(self._outcomes(self._trials[before:]))
        self._keep("")
        return ""

    def _measure_baseline(self) -> None:
        default = self._problem.space.default
        if not any(trial.fidelity == 1.0 and trial.configuration == default for trial in self._trials):
            price = self._evaluator.price(default)
            self._measure([Pick(Request(default), BASELINE, price)], deadline=math.inf)
        found = self._picture.baseline
        if found is None:
            failure = next(trial for trial in self._trials if trial.configuration == default)
            raise MeasurementError(
                "A search starts from the default configuration, which has to run.",
                given=f"{failure.measurement.status}: {failure.measurement.reason}",
                mend="Mend what stopped it, and use another folder for the study.",
            )
        self._check_metrics(found.metrics)
        self._keep("")

    def _check_metrics(self, metrics: Mapping[str, Metric]) -> None:
        goals = self._problem.goals
        wanted = [(one.metric, "limit") for one in goals.limits] + [
            (one.metric, "objective") for one in goals.objectives
        ]
        for name, what in wanted:
            found = metrics.get(name)
            if found is None or found.value is None:
                reason = "it is not measured in this workload" if found is None else found.source
                raise MeasurementError(
                    f"The metric of a {what} is one that can be measured here.",
                    given=f"{name}: {reason or 'unavailable'}",
                    mend="Leave it out, or choose another metric or machine.",
                )

    def _measure_simple_models(self) -> None:
        if self._simple or self._problem.simple is None:
            return
        # A search is not thrown away for what stands beside it.
        with suppress(RheostatError):
            self._simple = self._problem.simple()
        self._study.note(_SIMPLE, self._simple)

    def _strategy(self) -> Strategy:
        problem = self._problem
        hints: Hints = replace(problem.hints, price=self._evaluator.price)
        count = len(problem.goals.objectives)
        made = make_strategy(problem.strategy, problem.space, count, seed=problem.seed, hints=hints)
        made.tell(self._outcomes(self._trials))
        return made

    def _outcomes(self, trials: Sequence[Trial]) -> list[Outcome]:
        """Return what a strategy learns from trials: each configuration once for each fidelity."""
        found: dict[tuple[str, float], Outcome] = {}
        for trial in trials:
            key = self._problem.space.key(trial.configuration)
            found[key, trial.fidelity] = self._outcome(self._picture.evidence[key], trial.fidelity)
        return list(found.values())

    def _outcome(self, evidence: Evidence, fidelity: float) -> Outcome:
        metrics, goals = evidence.at(fidelity), self._problem.goals
        values = None if metrics is None else goals.values(metrics)
        if metrics is None or values is None:
            return Outcome(evidence.configuration, None, math.inf, fidelity)
        ends = [objective.interval(metrics) for objective in goals.objectives]
        intervals = tuple(each for each in ends if each is not None)
        excess = goals.excess(metrics, self._picture.baseline_metrics)
        return Outcome(evidence.configuration, values, excess, fidelity, intervals)

    def _confirm(self) -> None:
        """Measure again what would be recommended, until one keeps the limits again or nothing is left."""
        while True:
            kept = self._picture.kept
            if not kept or self._picture.confirmed(kept[0]):
                return
            known = any(self._picture.confirmed(one) for one in kept)
            # Once something is confirmed, better ones are tried as long as there is time.
            price = self._forecast.seconds(self._evaluator.price(kept[0].configuration))
            if (self._left <= 0 and self._confirmations_made) or (known and self._left < price):
                return
            repeat = sum(trial.fidelity == 1.0 for trial in kept[0].trials)
            request = Request(kept[0].configuration)
            self._measure([Pick(request, CONFIRMATION, price, repeat)], deadline=math.inf)
            self._keep("")

    @property
    def _confirmations_made(self) -> bool:
        return any(self._picture.confirmed(one) for one in self._picture.evidence.values())

    def _measure(self, picks: Sequence[Pick], *, deadline: float) -> None:
        prices: dict[int, float] = {}
        alike: dict[tuple[str, int], list[Pick]] = {}
        for pick in picks:
            alike.setdefault((pick.strategy, pick.repeat), []).append(pick)
        for (strategy, repeat), group in alike.items():
            numbers = self._study.add([pick.request for pick in group], strategy, repeat=repeat)
            prices.update(zip(numbers, (pick.price for pick in group), strict=True))
        claims = self._study.claim(numbers=list(prices))
        self._measure_claimed(claims, prices, deadline=deadline)

    def _measure_claimed(self, claims: Sequence[Claim], prices: Mapping[int, float], *, deadline: float) -> None:
        """Measure what was claimed; what the deadline leaves out is forgotten."""
        waiting = list(claims)
        self._running.update(claim.number for claim in waiting)
        while waiting:
            # Two measurements of one configuration cannot be told apart in one call.
            first = {self._name(claim.request): claim for claim in reversed(waiting)}
            self._measure_distinct(first, prices, deadline)
            done = {claim.number for claim in first.values()}
            waiting = [claim for claim in waiting if claim.number not in done]

    def _measure_distinct(
        self, claims: Mapping[tuple[str, float], Claim], known: Mapping[int, float], deadline: float
    ) -> None:
        waiting = dict(claims)
        ordered = sorted(claims.values(), key=lambda claim: claim.number)
        prices = {one.number: known[one.number] if one.number in known else self._price(one.request) for one in ordered}
        measured = self._evaluator.evaluate([claim.request for claim in ordered])
        start = self._clock()
        with _ended(measured):
            for one in measured:
                claim = waiting.pop(self._name(Request(one.configuration, fidelity_of(one))))
                took = self._clock() - start
                self._forecast.saw(estimated=prices.pop(claim.number), took=took)
                self._finish(claim, one, took)
                start = self._clock()
                if prices and self._seconds + self._forecast.seconds(min(prices.values())) > deadline:
                    break
        self._drop([claim.number for claim in waiting.values()])

    def _finish(self, claim: Claim, measurement: Measurement, took: float) -> None:
        self._study.finish(claim.number, measurement, took)
        self._running.discard(claim.number)
        request = claim.request
        done = Trial(claim.number, request.configuration, measurement, request.fidelity, took, claim.strategy)
        self._know(done)
        self._latest = done
        self._report()

    def _drop(self, numbers: Sequence[int]) -> None:
        self._study.release(numbers)
        self._study.forget(numbers)
        self._running.difference_update(numbers)

    def _keep(self, ended: str) -> Result:
        """Write the result and the bundle of what would be recommended now."""
        self._study.note(_SECONDS, (self._seconds, len(self._trials)))
        picture = self._picture
        chosen = choose(picture)
        result = conclude(picture, self._simple, trials=len(self._trials), seconds=self._seconds, ended=ended)
        if self._problem.bundles and chosen is not None and result.recommended is not None:
            bundle = self._deliver(chosen, result.recommended)
            result = replace(result, recommended=replace(result.recommended, bundle=str(bundle)))
        result.write(self._study.folder)
        return result

    def _deliver(self, chosen: Evidence, finding: Finding) -> Path:
        target = self._study.folder / RECOMMENDED
        if not is_there(target, finding):
            measurements = [trial.measurement for trial in chosen.trials]
            source = self._evaluator.bundle(chosen.configuration)
            deliver(source, target, self._problem.space, finding, measurements)
        return target

    def _reserve(self) -> float:
        """Return the seconds to keep for the end: confirming what leads, and one more in its place."""
        kept = self._picture.kept
        if not kept or self._picture.confirmed(kept[0]):
            return 0.0
        price = self._forecast.seconds(self._evaluator.price(kept[0].configuration))
        return min(2 * self._problem.confirmations * price, _RESERVED_AT_MOST * self._problem.budget)

    def _report(self) -> None:
        picture = self._picture
        front = tuple(picture.finding(one) for one in picture.front) if picture.baseline is not None else ()
        left = max(0.0, self._left)
        size = self._problem.space.size
        self._show(Progress(self._phase, len(self._trials), self._seconds, left, self._latest, front, size))

    def _price(self, request: Request) -> float:
        return self._evaluator.price(request.configuration, request.fidelity)

    def _name(self, request: Request) -> tuple[str, float]:
        configuration: Mapping[str, Value] = request.configuration
        return self._problem.space.key(configuration), request.fidelity

    def _know(self, trial: Trial) -> None:
        key = self._problem.space.key(trial.configuration)
        before = self._evidence[key].trials if key in self._evidence else ()
        self._evidence[key] = Evidence(trial.configuration, (*before, trial))
        self._trials.append(trial)
        self._drawn = None

    @property
    def _picture(self) -> Picture:
        if self._drawn is None:
            self._drawn = Picture(self._problem, dict(self._evidence))
        return self._drawn

    @property
    def _seconds(self) -> float:
        return self._before + self._clock() - self._start

    @property
    def _left(self) -> float:
        return self._problem.budget - self._seconds


@contextmanager
def _ended(measured: Iterator[Measurement]) -> Iterator[None]:
    """End what an evaluator still does for an iterator that nobody reads any further."""
    try:
        yield
    finally:
        close = getattr(measured, "close", None)
        if close is not None:
            close()
