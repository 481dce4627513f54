import math
import random
import sys

import numpy as np
import pytest

from benchmarks.search_spaces import GOALS, stand_in
from rheostat.core.errors import RheostatError
from rheostat.core.goals import Goals, Limit
from rheostat.core.space import Axis, Space
from rheostat.search.strategies.codes import Codec
from rheostat.search.strategies.strategy import Hints, Outcome, make_strategy
from rheostat.search.strategies.surrogate import Settings, SurrogateStrategy
from rheostat.search.strategies.view import Costs, look
from rheostat.search.strategies.warm import dependencies

SMALL = Space(
    (
        Axis("recipe", "finetuning", ("plain", "uniform"), "plain", ordered=False),
        Axis("tokens", "inference", tuple(at / 10 for at in range(1, 11)), 1.0),
        Axis("batch", "deployment", (1, 2, 4, 8), 1),
    )
)


def truth(one):
    lost = (0.3 if one["recipe"] == "plain" else 0.1) * (1 - one["tokens"]) ** 2
    return (lost - 1.0, one["tokens"] * one["batch"] + 0.2)


def told(configurations, **changes):
    return [Outcome(one, truth(one), **changes) for one in configurations]


def test_it_starts_with_the_default_and_the_other_end():
    first, second, *_ = make_strategy("surrogate", SMALL, 2).ask(4)
    assert first == SMALL.default
    assert second == {"recipe": "uniform", "tokens": 0.1, "batch": 8}


def test_it_asks_for_what_lies_on_the_front():
    strategy = make_strategy("surrogate", SMALL, 2, seed=1)
    strategy.tell(told(strategy.ask(10)))
    asked = [one for _ in range(3) for one in _told(strategy, 5)]
    # The true front has the better recipe and batch 1 throughout.
    on_it = [one for one in asked if one["recipe"] == "uniform" and one["batch"] == 1]
    assert len(on_it) >= 8


def _told(strategy, count, **changes):
    asked = strategy.ask(count)
    strategy.tell(told(asked, **changes))
    return asked


def test_limits_keep_it_off_what_passes_them():
    recorded = stand_in(0)
    baseline = recorded.baseline.metrics
    limited = Goals(GOALS.objectives, (Limit("latency_p50", "most", 0.02), Limit("accuracy", "least", 0.8)))
    kept = {}
    for with_limits in (True, False):
        hints = Hints(depends=dependencies(recorded.space, limited))
        strategy = SurrogateStrategy(recorded.space, 4, seed=0, hints=hints, settings=Settings(boosted=False))
        asked = []
        for _ in range(3):
            batch = strategy.ask(8)
            asked += batch
            rows = [recorded.row(one).metrics for one in batch]
            outcomes = [
                Outcome(
                    one,
                    GOALS.values(metrics),
                    limited.excess(metrics, baseline) if with_limits else 0.0,
                    margins=limited.margins(metrics, baseline) if with_limits else None,
                )
                for one, metrics in zip(batch, rows, strict=True)
            ]
            strategy.tell(outcomes)
        kept[with_limits] = sum(limited.excess(recorded.row(one).metrics, baseline) == 0 for one in asked[8:])
    assert kept[True] > kept[False] + 3


def test_an_excess_alone_is_learned_too():
    strategy = make_strategy("surrogate", SMALL, 2)
    seen = strategy.ask(8)
    strategy.tell([Outcome(one, truth(one), excess=max(0.0, 0.45 - one["tokens"])) for one in seen])
    asked = strategy.ask(6)
    assert sum(one["tokens"] >= 0.45 for one in asked) >= 4


def test_failures_are_learned():
    strategy = make_strategy("surrogate", SMALL, 2, seed=2)
    seen = strategy.ask(10)
    strategy.tell([Outcome(one, None, math.inf) if one["batch"] == 1 else Outcome(one, truth(one)) for one in seen])
    asked = strategy.ask(8)
    assert sum(one["batch"] == 1 for one in asked) <= 2


def test_margins_are_negative_where_there_is_room():
    recorded = stand_in(0)
    metrics = recorded.baseline.metrics
    value = metrics["latency_p50"].value
    goals = Goals(
        GOALS.objectives, (Limit("latency_p50", "most", 2 * value), Limit("accuracy", "least", 0.0, "difference"))
    )
    assert goals.margins(metrics, metrics) == pytest.approx((-0.5, 0.0))
    assert goals.margins({}, metrics) is None


def test_prices_count():
    """A recipe that has to be trained is asked for later than one that is there."""

    def price(one):
        return 5.0 if one["recipe"] == "plain" else 50_000.0

    asked = {}
    for hints in (Hints(), Hints(price=price)):
        strategy = make_strategy("surrogate", SMALL, 2, seed=0, hints=hints)
        strategy.tell(told(strategy.ask(8)))
        asked[hints.price is None] = sum(one["recipe"] == "plain" for one in strategy.ask(8))
    assert asked[False] > asked[True]


def test_a_cost_model_may_know_nothing_of_some():
    def predict(one):
        return {1: one["tokens"] * one["batch"]} if one["batch"] < 8 else {}

    strategy = make_strategy("surrogate", SMALL, 2, hints=Hints(predict=predict))
    strategy.tell(told(strategy.ask(8)))
    assert len(strategy.ask(5)) == 5


def test_a_cost_model_of_speed_is_negative():
    codec = Codec(SMALL)
    codes = codec.encode(list(SMALL.configurations()))
    costs = Costs(
        codec, Hints(predict=lambda one: {0: one["tokens"] * one["batch"], 1: -1 / (one["tokens"] * one["batch"])})
    )
    seconds, speeds = (costs.points(codes, at, costs.scale(codes, at)).predicted for at in (0, 1))
    assert speeds == pytest.approx(seconds)
    assert costs.scale(codes, 2) is None


@pytest.mark.parametrize("settings", [Settings(spread=0.0), Settings(boosted=False), Settings(start=12)])
def test_parts_can_be_left_out(settings):
    strategy = SurrogateStrategy(SMALL, 2, seed=0, hints=Hints(), settings=settings)
    asked = [one for _ in range(3) for one in _told(strategy, 6)]
    assert len({SMALL.key(one) for one in asked}) == 18


def test_draws_show_a_part_of_the_uncertainty_but_for_limits():
    costs = Costs(Codec(SMALL), Hints())
    source = random.Random(1)
    chosen = source.sample(list(SMALL.configurations()), 12)
    outcomes = [Outcome(one, truth(one), margins=(one["tokens"] * one["batch"] / 2 - 1,)) for one in chosen]
    view = look(costs, outcomes, 2, seed=0, boosted=False)
    codes = costs.codec.encode(list(SMALL.configurations()))
    whole, part, none = (view.futures(codes, 8, spread, np.random.default_rng(0)) for spread in (1.0, 0.25, 0.0))
    assert np.abs(whole.values - none.values).max() > 0.01
    assert part.values - none.values == pytest.approx((whole.values - none.values) / 4)
    assert (part.kept == whole.kept).all()
    assert none.kept.shape[0] == 1
    assert (whole.kept != none.kept).any()


def test_what_is_being_measured_is_counted_in():
    """Of two batches asked before anything is told, the second is no neighbour's copy of the first."""
    strategy = make_strategy("surrogate", SMALL, 2, seed=3)
    strategy.tell(told(strategy.ask(8)))
    first, second = strategy.ask(4), strategy.ask(4)
    assert not {SMALL.key(one) for one in first} & {SMALL.key(one) for one in second}


def test_a_space_too_large_to_list_is_searched():
    wide = Space(tuple(Axis(f"a{at}", "inference", (0.0, 1.0, 2.0, 3.0), 0.0) for at in range(8)))

    def value(one):
        numbers = [float(number) / 3 for number in one.values()]
        return (sum(numbers), sum((1 - number) ** 2 for number in numbers))

    strategy = make_strategy("surrogate", wide, 2, seed=0)
    strategy.tell([Outcome(one, value(one)) for one in strategy.ask(12)])
    asked = strategy.ask(6)
    assert len({wide.key(one) for one in asked}) == 6
    # Near the front, where the square of what is left is smallest for a sum: all numbers alike.
    source = random.Random(0)
    others = [{axis.name: source.choice(axis.values) for axis in wide.axes} for _ in range(200)]

    def beside(one):
        first, second = value(one)
        return second - 8 * (1 - first / 8) ** 2

    assert sum(map(beside, asked)) / 6 < sum(map(beside, others)) / 200


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(RheostatError, match=r"pip install 'rheostat\[search\]'"):
        make_strategy("surrogate", SMALL, 2)


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_without_optuna_they_say_what_to_install(monkeypatch, name):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RheostatError, match=r"pip install 'rheostat\[search\]'"):
        make_strategy(name, SMALL, 2)
