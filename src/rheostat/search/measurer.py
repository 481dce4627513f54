"""Measurements of a search: begun, finished and written down, within the time that is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rheostat.core.measurement import Measurement
from rheostat.core.space import Space
from rheostat.core.trial import Trial
from rheostat.search.evaluator import Evaluator, Request, fidelity_of
from rheostat.search.rounds import Pick
from rheostat.search.schedule import Forecast
from rheostat.search.study import Claim, Study

__all__ = ["Measurer"]


class Measurer:
    """Lets an evaluator measure, and a study keep what comes of it.

    Args:
        space: What is searched.
        study: Where trials are kept.
        evaluator: What measures.
        clock: Tells the seconds of the budget that are used up.
        done: Called with every trial, once it is written down.

    Attributes:
        forecast: What estimates are worth.
    """

    def __init__(
        self,
        space: Space,
        study: Study,
        evaluator: Evaluator,
        clock: Callable[[], float],
        done: Callable[[Trial], None],
    ) -> None:
        self._space, self._study, self._evaluator, self._clock, self._done = space, study, evaluator, clock, done
        self._running: set[int] = set()
        self.forecast = Forecast()

    def measure(self, picks: Sequence[Pick], *, deadline: float) -> None:
        """Measure, one at least, and then as long as the cheapest that is left ends before the deadline.

        What is left out is forgotten.

        Args:
            picks: What to measure.
            deadline: Seconds of the budget.
        """
        prices: dict[int, float] = {}
        alike: dict[tuple[str, int], list[Pick]] = {}
        for pick in picks:
            alike.setdefault((pick.strategy, pick.repeat), []).append(pick)
        for (strategy, repeat), group in alike.items():
            numbers = self._study.add([pick.request for pick in group], strategy, repeat=repeat)
            prices.update(zip(numbers, (pick.price for pick in group), strict=True))
        self._claimed(self._study.claim(numbers=list(prices)), prices, deadline)

    def catch_up(self, *, deadline: float) -> None:
        """Measure what was waiting when an earlier run ended."""
        self._claimed(self._study.claim(), {}, deadline)

    def stop(self) -> None:
        """Let wait what is not measured after all."""
        self._study.release(sorted(self._running))
        self._running.clear()

    def _claimed(self, claims: Sequence[Claim], prices: Mapping[int, float], deadline: float) -> None:
        waiting = list(claims)
        self._running.update(claim.number for claim in waiting)
        while waiting:
            # Two measurements of one configuration cannot be told apart in one call.
            first = {self._name(claim.request): claim for claim in reversed(waiting)}
            self._distinct(first, prices, deadline)
            done = {claim.number for claim in first.values()}
            waiting = [claim for claim in waiting if claim.number not in done]

    def _distinct(self, claims: Mapping[tuple[str, float], Claim], known: Mapping[int, float], deadline: float) -> None:
        waiting = dict(claims)
        ordered = sorted(claims.values(), key=lambda claim: claim.number)
        prices = {one.number: known[one.number] if one.number in known else self._price(one.request) for one in ordered}
        measured = self._evaluator.evaluate([claim.request for claim in ordered])
        start = self._clock()
        with _ended(measured):
            for one in measured:
                claim = waiting.pop(self._name(Request(one.configuration, fidelity_of(one))))
                took = self._clock() - start
                self.forecast.saw(estimated=prices.pop(claim.number), took=took)
                self._finish(claim, one, took)
                start = self._clock()
                if prices and start + self.forecast.seconds(min(prices.values())) > deadline:
                    break
        self._drop([claim.number for claim in waiting.values()])

    def _finish(self, claim: Claim, measurement: Measurement, took: float) -> None:
        self._study.finish(claim.number, measurement, took)
        self._running.discard(claim.number)
        request = claim.request
        self._done(Trial(claim.number, request.configuration, measurement, request.fidelity, took, claim.strategy))

    def _drop(self, numbers: Sequence[int]) -> None:
        self._study.release(numbers)
        self._study.forget(numbers)
        self._running.difference_update(numbers)

    def _price(self, request: Request) -> float:
        return self._evaluator.price(request.configuration, request.fidelity)

    def _name(self, request: Request) -> tuple[str, float]:
        return self._space.key(request.configuration), request.fidelity


@contextmanager
def _ended(measured: Iterator[Measurement]) -> Iterator[None]:
    """End what an evaluator still does for an iterator that nobody reads any further."""
    try:
        yield
    finally:
        close = getattr(measured, "close", None)
        if close is not None:
            close()
