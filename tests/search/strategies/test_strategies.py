"""What every strategy has to hold to."""

import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.search_runs import Variant, shares
from benchmarks.search_spaces import GOALS, stand_in
from rheostat.core.errors import SettingError
from rheostat.core.space import Axis, Conflict, Space
from rheostat.search.strategies.strategy import STRATEGIES, Hints, Outcome, Strategy, make_strategy

CONDITIONAL = Space(
    (
        Axis("recipe", "finetuning", ("plain", "uniform"), "plain", ordered=False),
        Axis("tokens", "inference", (0.25, 0.5, 1.0), 1.0),
        Axis("scorer", "inference", ("attention", "norm"), "attention", ordered=False, when=(("tokens", (0.25, 0.5)),)),
        Axis("batch", "deployment", (1, 8), 8),
    ),
    (Conflict((("recipe", ("uniform",)), ("batch", (8,))), "does not fit"),),
)


def values_of(configuration):
    """Two objectives that pull apart, the same for the same configuration."""
    source = random.Random(repr(sorted(configuration.items())))
    tokens = float(configuration.get("tokens", 1.0))
    return (1.0 - tokens + 0.1 * source.random(), tokens * float(configuration.get("batch", 1)) + 0.1 * source.random())


def outcome_of(configuration):
    """One in eight fails, one in four passes a limit."""
    source = random.Random(repr(sorted(configuration.items())) + "!")
    if source.random() < 1 / 8:
        return Outcome(configuration, None, math.inf)
    return Outcome(configuration, values_of(configuration), source.choice((0.0, 0.0, 0.0, 0.3)))


def exhausted(strategy, width, most=10_000):
    """Everything that a strategy asks for, told as it goes."""
    found = []
    while len(found) < most and (asked := strategy.ask(width)):
        assert len(asked) <= width
        found += asked
        strategy.tell([outcome_of(one) for one in asked])
    return found


@pytest.fixture(params=list(STRATEGIES))
def name(request):
    return request.param


def test_each_is_a_strategy(name):
    assert isinstance(make_strategy(name, CONDITIONAL, 2), Strategy)


def test_it_asks_for_everything_once_and_then_for_nothing(name):
    strategy = make_strategy(name, CONDITIONAL, 2, seed=1)
    found = exhausted(strategy, 4)
    keys = [CONDITIONAL.key(one) for one in found]
    assert sorted(keys) == sorted(CONDITIONAL.key(one) for one in CONDITIONAL.configurations())
    assert found == [CONDITIONAL.canonical(one) for one in found]
    assert strategy.ask(1) == []


def test_the_same_seed_and_the_same_tells_give_the_same_asks(name):
    first, second, other = (exhausted(make_strategy(name, CONDITIONAL, 2, seed=seed), 3, most=9) for seed in (5, 5, 6))
    assert first == second
    assert first != other


def test_what_was_told_is_not_asked(name):
    strategy = make_strategy(name, CONDITIONAL, 2)
    told = list(CONDITIONAL.configurations())[::2]
    strategy.tell([outcome_of(one) for one in told])
    asked = exhausted(strategy, 5)
    assert len(asked) == CONDITIONAL.size - len(told)
    assert all(one not in told for one in asked)


def test_guesses_come_first(name):
    guess = {"recipe": "uniform", "tokens": 0.5, "batch": 1}
    impossible = {"recipe": "uniform", "batch": 8}
    strategy = make_strategy(name, CONDITIONAL, 2, hints=Hints(guesses=[impossible, guess, guess]))
    asked = strategy.ask(2)
    assert asked[0] == {"recipe": "uniform", "tokens": 0.5, "scorer": "attention", "batch": 1}
    assert asked[1] != asked[0]


def test_a_guess_of_another_space_is_refused(name):
    with pytest.raises(SettingError, match=r"Did you mean 'tokens'"):
        make_strategy(name, CONDITIONAL, 2, hints=Hints(guesses=[{"token": 0.5}]))


def test_asks_without_tells_are_distinct(name):
    strategy = make_strategy(name, CONDITIONAL, 2)
    asked = [one for _ in range(CONDITIONAL.size) for one in strategy.ask(1)]
    assert len({CONDITIONAL.key(one) for one in asked}) == CONDITIONAL.size


def test_nothing_told_changes_nothing(name):
    strategy = make_strategy(name, CONDITIONAL, 2)
    strategy.tell([])
    assert len(strategy.ask(3)) == 3


def test_a_look_at_a_part_may_still_be_asked(name):
    strategy = make_strategy(name, CONDITIONAL, 2)
    strategy.tell([Outcome(one, values_of(one), fidelity=0.25) for one in CONDITIONAL.configurations()])
    assert len(exhausted(strategy, 6)) == CONDITIONAL.size


def test_unknown_names_and_no_objectives_are_refused():
    with pytest.raises(SettingError, match="Did you mean 'random'"):
        make_strategy("ramdom", CONDITIONAL, 2)
    with pytest.raises(SettingError, match="at least one objective"):
        make_strategy("random", CONDITIONAL, 0)


@st.composite
def spaces(draw):
    counts = draw(st.lists(st.integers(1, 3), min_size=1, max_size=4))
    axes = []
    for at, count in enumerate(counts):
        values = tuple(float(value) for value in range(count))
        when = ((axes[-1].name, axes[-1].values[:1]),) if axes and draw(st.booleans()) else ()
        stage = draw(st.sampled_from(["architecture", "finetuning", "inference", "deployment"]))
        axes.append(Axis(f"axis{at}", stage, values, values[-1], ordered=draw(st.booleans()), when=when))
    conflicts = ()
    if len(axes) > 1 and len(axes[0].values) > 1 and draw(st.booleans()):
        conflicts = (Conflict(((axes[0].name, axes[0].values[:1]), (axes[1].name, axes[1].values[:1])), "no"),)
    return Space(tuple(axes), conflicts)


@pytest.mark.parametrize("name", ["random", "nsga2", "surrogate"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(space=spaces(), seed=st.integers(0, 3))
def test_whatever_the_space(name, space, seed):
    found = exhausted(make_strategy(name, space, 2, seed=seed), 3)
    assert sorted(map(space.key, found)) == sorted(map(space.key, space.configurations()))


def test_ours_finds_more_than_chance():
    """On five spaces like the real one, told of nothing but configurations and values."""
    ours, chance = Variant("ours", hints=(), width=12), Variant("random", "random", hints=())
    found = [[shares(stand_in(seed), GOALS, one, seed, [30])[0] for one in (ours, chance)] for seed in range(5)]
    assert all(mine > other for mine, other in found)
    assert sum(mine - other for mine, other in found) / 5 > 0.02


def test_ours_reaches_most_of_the_front_with_what_it_knows():
    """With rules, a rough cost model, and what can depend on what."""
    assert shares(stand_in(7, noise=0.03), GOALS, Variant("ours", width=12), 0, [30])[0] > 0.9
