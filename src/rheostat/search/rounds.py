"""Rounds: which measurements are made next, of what the strategy asks, what is promoted, and what is repeated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from rheostat.core.knob import Value
from rheostat.search.evaluator import Evaluator, Request
from rheostat.search.picture import Picture
from rheostat.search.problem import TRAINING, Problem
from rheostat.search.schedule import doubts, promotions, start_fidelity
from rheostat.search.strategies.start import extreme
from rheostat.search.strategies.strategy import Strategy
from rheostat.search.study import Study

__all__ = ["COMPANION", "NEIGHBOUR", "Pick", "Rounds"]

COMPANION: Final = "companion"
"""The strategy of trials that try known settings of the dials on a new training."""

NEIGHBOUR: Final = "neighbour"
"""The strategy of trials that turn a dial of what leads by one step."""

_TRAININGS_WAITING = 4


@dataclass(frozen=True, slots=True)
class Pick:
    """A measurement to make.

    Attributes:
        request: What to measure.
        strategy: Who proposed it.
        price: Seconds that it is thought to take.
        repeat: Which measurement of the same request it is, from 0.
    """

    request: Request
    strategy: str
    price: float
    repeat: int = 0


class Rounds:
    """Chooses the measurements of each round.

    Args:
        problem: What is searched.
        evaluator: Tells what measurements cost.
        strategy: Asked for what is new.
        study: Tells what was measured already.
    """

    def __init__(self, problem: Problem, evaluator: Evaluator, strategy: Strategy, study: Study) -> None:
        self._problem, self._evaluator, self._strategy, self._study = problem, evaluator, strategy, study
        # What was asked for and waits for its turn: it will not be asked for again.
        self._asked: list[tuple[Mapping[str, Value], str]] = []
        self._postponed: list[Pick] = []
        self._last: tuple[str, ...] = ()
        self._quiet = 0

    def picks(self, picture: Picture) -> list[Pick]:
        """Return the measurements of the next round; none where the space is exhausted."""
        width = self._problem.width
        again = self._repeats(picture)[: max(1, width // 6)]
        promoted = self._of_few_trainings(self._promotions(picture), picture)
        near = self._neighbours(picture)[: max(1, width // 4)]
        half = promoted[: width // 2]
        turned = [pick.request.configuration for pick in near]
        asked = self._new(picture, max(width - len(again) - len(near) - len(half), 1))
        new = [pick for pick in asked if pick.request.configuration not in turned]
        # Where nothing new is left, what was only looked at takes its place.
        more = promoted[len(half) : width - len(again) - len(near) - len(new)]
        return self._sharing([*near, *half, *more, *again, *new], picture)

    def postpone(self, picks: Sequence[Pick]) -> None:
        """Keep for later what there is no time for as things look now: after a slow spell everything looks dear."""
        self._postponed += [pick for pick in picks if not self._measured(pick.request.configuration)]

    def resume(self, affordable: Callable[[float], bool]) -> None:
        """Let what was postponed, and whose price is affordable, be the next that is new."""
        ready = [pick for pick in self._postponed if affordable(pick.price)]
        self._postponed = [pick for pick in self._postponed if not affordable(pick.price)]
        self._asked[:0] = [(pick.request.configuration, pick.strategy) for pick in ready]

    @property
    def waiting(self) -> bool:
        """Whether something was postponed."""
        return bool(self._postponed)

    def settled(self, picture: Picture) -> bool:
        """Whether the front has not changed for so many rounds that nothing is left to gain. Call it once a round."""
        front = tuple(sorted(str(one.configuration) for one in picture.front))
        self._quiet = self._quiet + 1 if front == self._last else 0
        self._last = front
        return self._quiet >= self._problem.patience and not self._promotions(picture)

    def _promotions(self, picture: Picture) -> list[Pick]:
        found = [picture.evidence[key] for key in promotions(picture.candidates)]
        return [self._pick(one.configuration, 1.0, one.trials[0].strategy) for one in found]

    def _repeats(self, picture: Picture) -> list[Pick]:
        found = [picture.evidence[key] for key in doubts(picture.candidates, self._problem.repeats)]
        return [self._pick(one.configuration, 1.0, "repeat", one.attempts) for one in found]

    def _new(self, picture: Picture, count: int) -> list[Pick]:
        """Return so many new measurements, of few new trainings, each with some settings of the dials."""
        found: list[Pick] = []
        allowed = {self._problem.training(one.configuration) for one in picture.evidence.values()}
        most = len(allowed) + self._problem.trainings
        later: list[tuple[Mapping[str, Value], str]] = []
        while len(found) < count and len(later) < _TRAININGS_WAITING and (one := self._next(count)) is not None:
            training = self._problem.training(one[0])
            if training not in allowed:
                if len(allowed) >= most:
                    later.append(one)
                    continue
                allowed.add(training)
                self._asked[:0] = [(each, COMPANION) for each in self._companions(picture, one[0])]
            found.append(self._first(*one))
        self._asked += later
        return found

    def _next(self, count: int) -> tuple[Mapping[str, Value], str] | None:
        """Return what waits, or else what the strategy asks for; None where nothing is left."""
        while True:
            if not self._asked:
                self._asked = [(one, self._problem.strategy) for one in self._strategy.ask(count)]
            if not self._asked:
                return None
            found = self._asked.pop(0)
            if not self._measured(found[0]):
                return found

    def _of_few_trainings(self, picks: Sequence[Pick], picture: Picture) -> list[Pick]:
        """Leave out those beyond the first few that need a training that nothing has had in full."""
        allowed = self._trained(picture)
        most = len(allowed) + self._problem.trainings
        found = []
        for pick in picks:
            training = self._problem.training(pick.request.configuration)
            if training in allowed or len(allowed) < most:
                allowed.add(training)
                found.append(pick)
        return found

    def _sharing(self, picks: Sequence[Pick], picture: Picture) -> list[Pick]:
        """Return measurements with the price of a training in the first one alone that needs it."""
        seen: set[tuple[str, float]] = set()
        trained = self._trained(picture)
        found = []
        for pick in picks:
            name = self._problem.training(pick.request.configuration), pick.request.fidelity
            shared = name in seen and name[0] not in trained
            seen.add(name)
            found.append(replace(pick, price=min(pick.price, self._dials_alone(pick))) if shared else pick)
        return found

    def _dials_alone(self, pick: Pick) -> float:
        """Return what a measurement costs where its training is there: that of the baseline with its dials."""
        space = self._problem.space
        dials = space.part(pick.request.configuration, ("inference", "deployment"))
        return self._evaluator.price(space.canonical(dials), pick.request.fidelity)

    def _trained(self, picture: Picture) -> set[str]:
        return {self._problem.training(one.configuration) for one in picture.evidence.values() if one.full}

    def _companions(self, picture: Picture, configuration: Mapping[str, Value]) -> list[dict[str, Value]]:
        """Return the dial settings of what leads, on a new training."""
        space = self._problem.space
        training = space.part(configuration, TRAINING)
        own = space.key(configuration)
        found: dict[str, dict[str, Value]] = {}
        for leader in picture.front:
            dials = space.part(leader.configuration, ("inference", "deployment"))
            one = space.canonical({**dials, **training})
            key = space.key(one)
            if key != own and space.conflict(one) is None and not self._measured(one):
                found[key] = one
        return list(found.values())[: self._problem.companions]

    def _neighbours(self, picture: Picture) -> list[Pick]:
        """Return what leads with one dial a step further from neutral: that takes no training."""
        space = self._problem.space
        found = []
        for best in picture.front[:1]:
            for axis in space.axes:
                if axis.stage != "inference" or not axis.ordered or axis.name not in best.configuration:
                    continue
                at, last = axis.values.index(best.configuration[axis.name]), axis.values.index(extreme(axis))
                if at == last:
                    continue
                further = at + 1 if at < last else at - 1
                one = space.canonical({**best.configuration, axis.name: axis.values[further]})
                if space.conflict(one) is None and not self._measured(one):
                    found.append(self._pick(one, 1.0, NEIGHBOUR))
        return found

    def _first(self, configuration: Mapping[str, Value], strategy: str) -> Pick:
        low = self._problem.low
        prices = {each: self._evaluator.price(configuration, each) for each in {low, 1.0}}
        return self._pick(configuration, start_fidelity(low, prices), strategy)

    def _pick(self, configuration: Mapping[str, Value], fidelity: float, strategy: str, repeat: int = 0) -> Pick:
        price = self._evaluator.price(configuration, fidelity)
        return Pick(Request(configuration, fidelity), strategy, price, repeat)

    def _measured(self, configuration: Mapping[str, Value]) -> bool:
        fidelities: Sequence[float] = sorted({self._problem.low, 1.0})
        return any(self._study.state_of(Request(configuration, each)) is not None for each in fidelities)
