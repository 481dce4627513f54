"""Searches on recorded spaces: what a strategy asks for, in order, and what it costs."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.search_spaces import rough_costs
from rheostat.core.errors import SettingError
from rheostat.core.goals import Goals, Limit
from rheostat.core.knob import Value
from rheostat.core.measurement import Measurement
from rheostat.core.pareto import surely_dominates
from rheostat.search.recorded import RecordedEvaluator, RecordedSpace
from rheostat.search.strategies.strategy import Hints, Outcome, Strategy, make_strategy
from rheostat.search.strategies.surrogate import Settings, SurrogateStrategy
from rheostat.search.strategies.warm import dependencies, guesses

OURS = "surrogate"
WIDTH = 5
LOW = 0.25


@dataclass(frozen=True)
class Asked:
    """A request to a recorded space."""

    configuration: Mapping[str, Value]
    fidelity: float = 1.0


@dataclass(frozen=True)
class Variant:
    """A strategy with what it is given.

    Attributes:
        name: For tables.
        strategy: One of the strategies.
        hints: Which hints it gets: guesses, depends, predict, price.
        settings: Of the surrogate.
        width: How many configurations it is asked for at once.
        low: Fidelity of a first look; 1 measures in full at once.
        free_dials: Whether settings of one training share it.
    """

    name: str
    strategy: str = OURS
    hints: tuple[str, ...] = ("guesses", "depends", "predict")
    settings: Settings = field(default_factory=Settings)
    width: int = WIDTH
    low: float = 1.0
    free_dials: bool = True

    def make(self, recorded: RecordedSpace, goals: Goals, seed: int, evaluator: RecordedEvaluator) -> Strategy:
        """Return the strategy."""
        space = recorded.space
        hints = Hints(
            guesses=guesses(space, goals) if "guesses" in self.hints else (),
            depends=dependencies(space, goals) if "depends" in self.hints else {},
            predict=cost_model(recorded, goals) if "predict" in self.hints else None,
            price=evaluator.price if "price" in self.hints else None,
        )
        if self.strategy == OURS:
            return SurrogateStrategy(space, len(goals.objectives), seed=seed, hints=hints, settings=self.settings)
        return make_strategy(self.strategy, space, len(goals.objectives), seed=seed, hints=hints)


def cost_model(recorded: RecordedSpace, goals: Goals) -> Callable[[Mapping[str, Value]], dict[int, float]] | None:
    """Return what the cost model of `rheostat optimize` said, where it was recorded; else one by rule of thumb."""
    if not any(row.predicted for row in recorded.rows):
        return rough_costs(recorded.space, goals)

    def predict(one: Mapping[str, Value]) -> dict[int, float]:
        said = recorded.row(one).predicted
        known = ((at, one) for at, one in enumerate(goals.objectives) if one.metric in said)
        return {at: objective.sign * said[objective.metric] for at, objective in known}

    return predict


@dataclass(frozen=True)
class Step:
    """One measurement in full, or several looks at a part.

    Attributes:
        configuration: What was measured in full; None for a look that was not followed up.
        seconds: Recorded seconds that the search has taken so far.
    """

    configuration: dict[str, Value] | None
    seconds: float


def search(recorded: RecordedSpace, goals: Goals, variant: Variant, seed: int) -> Iterator[Step]:
    """Yield a step for each measurement, the default configuration first, until the space is exhausted."""
    evaluator = recorded.evaluator(free_dials=variant.free_dials)
    strategy = variant.make(recorded, goals, seed, evaluator)
    baseline = next(evaluator.evaluate([Asked(recorded.space.default)]))
    told = [_outcome(baseline, goals, baseline)]
    strategy.tell(told)
    yield Step(recorded.space.default, evaluator.seconds)
    while asked := strategy.ask(variant.width):
        outcomes = []
        for one in asked:
            if variant.low < 1.0:
                look = next(evaluator.evaluate([Asked(one, variant.low)]))
                outcomes.append(_outcome(look, goals, baseline, variant.low))
                if not _hopeful(outcomes[-1], told):
                    yield Step(None, evaluator.seconds)
                    continue
            outcomes.append(_outcome(next(evaluator.evaluate([Asked(one)])), goals, baseline))
            told.append(outcomes[-1])
            yield Step(one, evaluator.seconds)
        strategy.tell(outcomes)


def shares(recorded: RecordedSpace, goals: Goals, variant: Variant, seed: int, at: Sequence[int]) -> list[float]:
    """Return the share of the true hypervolume after so many measurements, the default one counted."""
    done: list[dict[str, Value]] = []
    for step in search(recorded, goals, variant, seed):
        done += [step.configuration] if step.configuration is not None else []
        if len(done) == max(at):
            break
    return [recorded.share(done[:count], goals) for count in at]


def needed(
    recorded: RecordedSpace, goals: Goals, variant: Variant, seed: int, targets: Sequence[float], most: int
) -> list[tuple[int, float] | None]:
    """Return measurements in full, and recorded seconds, until each share is reached; None beyond ``most``."""
    found: list[tuple[int, float] | None] = [None] * len(targets)
    done: list[dict[str, Value]] = []
    for step in search(recorded, goals, variant, seed):
        if step.configuration is None:
            continue
        done.append(step.configuration)
        share = recorded.share(done, goals)
        for at, target in enumerate(targets):
            if found[at] is None and share >= target:
                found[at] = (len(done), step.seconds)
        if None not in found or len(done) >= most:
            break
    return found


def recommended(
    recorded: RecordedSpace, goals: Goals, variant: Variant, seed: int, most: int
) -> dict[str, Value] | None:
    """Return what a search within limits would return; None where it names the limits infeasible.

    Of what was measured and keeps every limit, that with the least product of objectives over the baseline's.
    """
    kept: list[tuple[float, dict[str, Value]]] = []
    baseline = recorded.baseline.metrics
    for count, step in enumerate(search(recorded, goals, variant, seed), start=1):
        if step.configuration is not None:
            metrics = recorded.row(step.configuration).metrics
            if goals.excess(metrics, baseline) == 0.0:
                values, plain = goals.values(metrics) or (), goals.values(baseline) or ()
                score = sum(math.log(abs(one / other)) * (1 if one > 0 else -1)
                            for one, other in zip(values, plain, strict=True))  # fmt: skip
                kept.append((score, step.configuration))
        if count >= most:
            break
    return min(kept, key=lambda one: one[0])[1] if kept else None


def scenarios(recorded: RecordedSpace, goals: Goals, count: int, seed: int) -> Iterator[tuple[Goals, bool]]:
    """Yield goals with one to three limits, and whether some configuration keeps them; one in four is infeasible.

    Raises:
        SettingError: If the space is such that no limits that exclude each other are found.
    """
    source = random.Random(seed)
    for number in range(count):
        wanted = number % 4 != 0
        for _ in range(2000):
            limits = tuple(_limit(recorded, goals, source) for _ in range(source.randint(1, 3)))
            limited = Goals(goals.objectives, limits)
            if feasible(recorded, limited) == wanted:
                break
        else:
            raise SettingError("Random limits exclude everything now and then.", given=f"scenario {number}")
        yield limited, wanted


def feasible(recorded: RecordedSpace, goals: Goals) -> bool:
    """Whether some configuration of the space keeps every limit."""
    baseline = recorded.baseline.metrics
    return any(goals.excess(row.metrics, baseline) == 0.0 for row in recorded.rows)


def _limit(recorded: RecordedSpace, goals: Goals, source: random.Random) -> Limit:
    objective = source.choice(goals.objectives)
    found = sorted(value for row in recorded.rows if (value := objective.value(row.metrics)) is not None)
    # From a little better than the best there is.
    at = source.uniform(-0.03, 0.6)
    edge = found[int(at * (len(found) - 1))] if at > 0 else found[0] - 0.02 * abs(found[0])
    bound, value = ("most", edge) if objective.sign > 0 else ("least", -edge)
    plain = objective.sign * (objective.value(recorded.baseline.metrics) or 0.0)
    kind = source.choice(("nothing", "difference", "ratio"))
    if kind == "difference":
        return Limit(objective.metric, bound, (value - plain) if bound == "most" else (plain - value), "difference")
    return (
        Limit(objective.metric, bound, value / plain, "ratio")
        if kind == "ratio"
        else Limit(objective.metric, bound, value)
    )


def _outcome(measured: Measurement, goals: Goals, baseline: Measurement, fidelity: float = 1.0) -> Outcome:
    if measured.status != "ok" or (values := goals.values(measured.metrics)) is None:
        return Outcome(measured.configuration, None, math.inf, fidelity)
    intervals = [objective.interval(measured.metrics) for objective in goals.objectives]
    return Outcome(
        measured.configuration,
        values,
        goals.excess(measured.metrics, baseline.metrics),
        fidelity,
        tuple(one for one in intervals if one is not None),
        goals.margins(measured.metrics, baseline.metrics),
    )


def _hopeful(look: Outcome, told: Sequence[Outcome]) -> bool:
    """Whether something could still reach the front: nothing measured in full surely dominates it."""
    if look.intervals is None:
        return False
    return not any(one.intervals is not None and surely_dominates(one.intervals, look.intervals) for one in told)
