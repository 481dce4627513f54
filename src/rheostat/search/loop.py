"""The loop of a search: strategy, evaluator and study, round by round, until the budget is spent."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from rheostat.core.errors import MeasurementError, RheostatError, SettingError
from rheostat.core.files import write_atomically
from rheostat.core.knob import Value
from rheostat.core.metrics import Metric
from rheostat.core.result import RECOMMENDED, Finding, Result, read_result
from rheostat.core.trial import Trial
from rheostat.search.conclusion import choose, conclude
from rheostat.search.database import FILE
from rheostat.search.delivery import deliver, is_there
from rheostat.search.described import describe
from rheostat.search.evaluator import Evaluator, Request
from rheostat.search.evidence import CONFIRMATION, Evidence
from rheostat.search.interrupts import stoppable
from rheostat.search.knowledge import Knowledge
from rheostat.search.measurer import Measurer
from rheostat.search.picture import Picture
from rheostat.search.problem import Problem
from rheostat.search.rounds import Pick, Rounds
from rheostat.search.strategies.strategy import Strategy, make_strategy
from rheostat.search.study import Study

__all__ = ["BASELINE", "BEYOND", "BUNDLES", "SCENARIO", "Progress", "finished_result", "search"]

BASELINE: Final = "baseline"
BEYOND: Final = "beyond a limit"
SCENARIO: Final = "scenario.json"

Phase = Literal["baseline", "search", "confirmation"]

_RESERVED_AT_MOST = 0.3
_MISSES = 5
_LOOKS_BEYOND = 3
_SPARE = 1.1
BUNDLES: Final = "bundles"
"""The note of a study that says where, in its folder, the bundle of each training is."""

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
    """

    phase: Phase
    trials: int
    seconds: float
    seconds_left: float
    latest: Trial | None
    front: Sequence[Finding]


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
        if (done := _finished(problem, study)) is not None:
            return done
        describe(study, problem.space, problem.goals)
        if problem.scenario:
            content = json.dumps(problem.scenario, indent=2, ensure_ascii=False) + "\n"
            write_atomically(folder / SCENARIO, content)
        return _Loop(problem, study, evaluator, progress or (lambda _: None), clock).run()


def finished_result(problem: Problem, folder: Path) -> Result | None:
    """Return the result of a study that has nothing left to do for this problem; None where there is something.

    Args:
        problem: What is searched; more budget than before is something to do.
        folder: The study's folder.
    """
    if not (folder / FILE).is_file():
        return None
    with Study(folder) as study:
        return _finished(problem, study) if study.digest == problem.digest else None


def _finished(problem: Problem, study: Study) -> Result | None:
    result = read_result(study.folder)
    if result is None or not result.finished or study.counts()["PENDING"]:
        return None
    if result.ended == "budget" and problem.budget > study.noted(_BUDGET, 0.0):
        return None
    known = result.recommended if problem.bundles else None
    if known is not None and not is_there(study.folder / RECOMMENDED, known):
        return None
    return result


def _check_budget(problem: Problem, folder: Path, evaluator: Evaluator) -> None:
    if (folder / FILE).exists():
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
        self._known = Knowledge(problem, study.trials())
        seconds, count = study.noted(_SECONDS, (0.0, 0))
        # What a kill left unsaid, the trials themselves tell.
        self._start = clock() - seconds - sum(trial.seconds for trial in self._known.trials[count:])
        self._measurer = Measurer(problem.space, study, evaluator, lambda: self._seconds, self._learn)
        self._misses = 0
        self._phase: Phase = "baseline"
        self._latest: Trial | None = None
        self._simple: Mapping[str, Mapping[str, float]] = study.noted(_SIMPLE, {})

    def run(self) -> Result:
        """Go on until the end, and return the result."""
        try:
            with stoppable():
                ended = self._go()
        except KeyboardInterrupt:
            ended = "interrupted"
        finally:
            self._measurer.stop()
        self._study.note(_BUDGET, self._problem.budget)
        return self._keep(ended)

    def _go(self) -> str:
        self._report()
        self._measurer.catch_up(deadline=self._problem.budget)
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
        self._look_beyond()
        return ended

    def _round(self, rounds: Rounds, strategy: Strategy) -> str:
        """Measure one round; return why the search ends, or nothing."""
        if rounds.settled(self._picture):
            return "settled"
        if self._misses >= _MISSES:
            return "budget"
        end, forecast = self._problem.budget - self._reserve(), self._measurer.forecast
        rounds.resume(lambda price: forecast.seconds(price) <= end - self._seconds)
        picks = rounds.picks(self._picture)
        if not picks:
            return "budget" if rounds.waiting else "exhausted"
        fitting = forecast.fitting([pick.price for pick in picks], end - self._seconds)
        rounds.postpone([pick for at, pick in enumerate(picks) if at not in fitting])
        if not fitting:
            # Something cheaper may be asked for next.
            self._misses += 1
            return ""
        before = len(self._known.trials)
        self._measurer.measure([picks[at] for at in fitting], deadline=end)
        self._misses = 0 if len(self._known.trials) > before else self._misses + 1
        strategy.tell(self._known.outcomes(self._known.trials[before:]))
        self._keep("")
        return ""

    def _measure_baseline(self) -> None:
        default = self._problem.space.default
        mine = [trial for trial in self._known.trials if trial.fidelity == 1.0 and trial.configuration == default]
        if not mine:
            price = self._evaluator.price(default)
            self._measurer.measure([Pick(Request(default), BASELINE, price)], deadline=math.inf)
        found = self._picture.baseline
        if found is None:
            failure = (mine or self._known.trials)[-1].measurement
            raise MeasurementError(
                "A search starts from the default configuration, which has to run.",
                given=f"{failure.status}: {failure.reason}",
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
        hints = replace(problem.hints, price=self._rough_price)
        count = len(problem.goals.objectives)
        made = make_strategy(problem.strategy, problem.space, count, seed=problem.seed, hints=hints)
        made.tell(self._known.outcomes(self._known.trials))
        return made

    def _rough_price(self, configuration: Mapping[str, Value]) -> float:
        """Return a price to the next power of two: how long something took shall not decide what is proposed."""
        price = self._evaluator.price(configuration)
        return 2.0 ** round(math.log2(price)) if price > 0 else 0.0

    def _confirm(self) -> None:
        """Measure again what would be recommended, until one keeps the limits again or nothing is left.

        It is begun in any case. After that, time decides.
        """
        while True:
            if self._left <= 0:
                # One more than the budget has room for, and not several.
                self._known.accept(1)
            kept, confirmed = self._picture.kept, self._picture.confirmed
            if not kept or confirmed(kept[0]):
                return
            price = self._evaluator.price(kept[0].configuration)
            tried = any(confirmed(one) for one in self._picture.evidence.values())
            needed = self._measurer.forecast.seconds(price) if any(map(confirmed, kept)) else 0.0
            if tried and self._left <= needed:
                return
            pick = Pick(Request(kept[0].configuration), CONFIRMATION, price, kept[0].attempts)
            self._measurer.measure([pick], deadline=math.inf)
            self._keep("")

    def _look_beyond(self) -> None:
        """Find out, where there is time, what relaxing a limit would buy."""
        for _ in range(_LOOKS_BEYOND):
            chosen = choose(self._picture)
            found = None if chosen is None else self._picture.tempting(chosen)
            if found is None:
                return
            price = self._evaluator.price(found.configuration)
            if self._left < self._measurer.forecast.seconds(price):
                return
            self._measurer.measure([Pick(Request(found.configuration), BEYOND, price)], deadline=math.inf)

    def _learn(self, trial: Trial) -> None:
        self._known.add(trial)
        self._latest = trial
        self._report()

    def _keep(self, ended: str) -> Result:
        """Write the result and the bundle of what would be recommended now."""
        self._study.note(_SECONDS, (self._seconds, len(self._known.trials)))
        picture = self._picture
        chosen = choose(picture)
        result = conclude(picture, self._simple, trials=len(self._known.trials), seconds=self._seconds, ended=ended)
        if self._problem.bundles and chosen is not None and result.recommended is not None:
            bundle = self._deliver(chosen, result.recommended)
            result = replace(result, recommended=replace(result.recommended, bundle=str(bundle)))
        result.write(self._study.folder)
        return result

    def _deliver(self, chosen: Evidence, finding: Finding) -> Path:
        target = self._study.folder / RECOMMENDED
        if not is_there(target, finding):
            source = self._bundle(chosen)
            deliver(source, target, self._problem.space, finding, [trial.measurement for trial in chosen.trials])
        return target

    def _bundle(self, one: Evidence) -> Path:
        """Return the trained bundle of a configuration, and keep in mind where it is."""
        source = self._evaluator.bundle(one.configuration)
        with suppress(ValueError):
            place = source.absolute().relative_to(self._study.folder.absolute())
            known = self._study.noted(BUNDLES, {})
            self._study.note(BUNDLES, {**known, self._problem.training(one.configuration): str(place)})
        return source

    def _reserve(self) -> float:
        """Return the seconds to keep for the end: confirming what leads, and one more in its place."""
        kept = self._picture.kept
        if not kept or self._picture.confirmed(kept[0]):
            return 0.0
        price = self._measurer.forecast.seconds(self._evaluator.price(kept[0].configuration))
        return min(2 * self._problem.confirmations * price, _RESERVED_AT_MOST * self._problem.budget)

    def _report(self) -> None:
        picture = self._picture
        front = tuple(picture.finding(one) for one in picture.front) if picture.baseline is not None else ()
        seen = len(self._known.trials)
        self._show(Progress(self._phase, seen, self._seconds, max(0.0, self._left), self._latest, front))

    @property
    def _picture(self) -> Picture:
        return self._known.picture

    @property
    def _seconds(self) -> float:
        return float(self._clock() - self._start)

    @property
    def _left(self) -> float:
        return self._problem.budget - self._seconds
