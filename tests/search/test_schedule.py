from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from rheostat.search.schedule import Candidate, Forecast, could_reach, doubts, promotions, start_fidelity


def full(key: str, *values: float, excess: float = 0.0, preference: float = 1.0, spread: float = 0.0) -> Candidate:
    intervals = tuple((value - spread, value + spread) for value in values)
    best = tuple(low for low, _ in intervals)
    ends = (preference, preference - spread, preference + spread)
    return Candidate(key, 1.0, best=best, intervals=intervals, excess=excess, least_excess=excess, preference=ends)


def looked(key: str, *best: float, least_excess: float = 0.0, preference: float = 1.0) -> Candidate:
    ends = (preference, preference, preference)
    return Candidate(key, 0.25, best=best, least_excess=least_excess, preference=ends)


def test_what_is_surely_beaten_is_not_promoted() -> None:
    known = [full("a", 1.0, 1.0)]

    assert not could_reach(looked("b", 2.0, 2.0), known)
    assert could_reach(looked("c", 0.5, 2.0), known)
    # What beats it may be noise.
    assert could_reach(looked("d", 1.1, 1.1), [full("a", 1.0, 1.0, spread=0.2)])


def test_what_breaks_a_limit_at_its_best_is_promoted_only_while_nothing_keeps_them() -> None:
    beyond = looked("b", 0.5, 0.5, least_excess=0.1)

    assert not could_reach(beyond, [full("a", 1.0, 1.0)])
    assert could_reach(beyond, [full("a", 1.0, 1.0, excess=0.2)])
    assert not could_reach(beyond, [full("a", 1.0, 1.0, excess=0.05)])


def test_failures_are_not_promoted() -> None:
    assert not could_reach(Candidate("a", 0.25, failed=True, best=(0.0,)), [])
    assert not could_reach(Candidate("a", 0.25, best=None), [])


def test_the_most_promising_is_promoted_first() -> None:
    waiting = [
        looked("beaten", 0.6, 0.6),
        looked("beyond", 0.1, 0.1, least_excess=0.5),
        looked("good", 0.5, 0.5, preference=2.0),
        looked("other", 0.4, 0.9, preference=3.0),
    ]

    assert promotions([full("a", 1.0, 1.0), *waiting]) == ["other", "good", "beaten"]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.25, 1.0])), max_size=12))
def test_promotions_are_looked_at_once_and_never_beaten(points: list[tuple[float, float, float]]) -> None:
    candidates = [
        full(str(at), one, two) if fidelity == 1.0 else looked(str(at), one, two)
        for at, (one, two, fidelity) in enumerate(points)
    ]
    found = promotions(candidates)
    kept = [each for each in points if each[2] == 1.0]

    assert len(set(found)) == len(found)
    for key in found:
        one, two, fidelity = points[int(key)]
        assert fidelity < 1.0
        assert not any(a <= one and b <= two and (a, b) != (one, two) for a, b, _ in kept)


def test_repeats_go_where_the_recommendation_hangs_on_them() -> None:
    leader = full("leader", 1.0, preference=3.0, spread=0.2)
    near = full("near", 1.0, preference=2.9, spread=0.2)
    far = full("far", 1.0, preference=1.0, spread=0.2)
    hopeful = Candidate("hopeful", 1.0, excess=0.1, preference=(4.0, 3.9, 4.1), doubtful=True)
    lost = Candidate("lost", 1.0, excess=0.1, least_excess=0.05, preference=(4.0, 3.9, 4.1), doubtful=False)
    often = Candidate("often", 1.0, repeats=4, preference=(3.0, 2.9, 3.1))

    assert doubts([leader, far], 4) == []
    assert doubts([leader, near, far, hopeful, lost, often], 4) == ["hopeful", "near"]


def test_a_leader_near_a_limit_is_measured_again() -> None:
    leader = Candidate("leader", 1.0, preference=(3.0, 2.9, 3.1), doubtful=True)

    assert doubts([leader], 4) == ["leader"]
    assert doubts([Candidate("leader", 1.0, preference=(3.0, 2.9, 3.1), doubtful=True, confirmed=True)], 4) == []


def test_a_first_look_has_to_save_something() -> None:
    assert start_fidelity(0.25, {0.25: 25.0, 1.0: 100.0}) == 0.25
    assert start_fidelity(0.25, {0.25: 70.0, 1.0: 100.0}) == 1.0
    assert start_fidelity(1.0, {1.0: 100.0}) == 1.0


@given(st.lists(st.floats(0.1, 100.0), max_size=20), st.floats(0.0, 200.0), st.floats(0.1, 10.0))
def test_what_fits_never_takes_more_than_is_left(prices: list[float], left: float, factor: float) -> None:
    forecast = Forecast()
    forecast.saw(estimated=1.0, took=factor)
    chosen = forecast.fitting(prices, left)

    assert sum(forecast.seconds(prices[at]) for at in chosen) <= left * (1 + 1e-9)
    assert chosen == sorted(chosen)
    if not chosen and prices:
        assert forecast.seconds(min(prices)) > left


def test_a_forecast_follows_the_latest() -> None:
    forecast = Forecast()
    for _ in range(30):
        forecast.saw(estimated=1.0, took=1.0)
    for _ in range(15):
        forecast.saw(estimated=2.0, took=6.0)
    forecast.saw(estimated=0.0, took=math.inf)

    assert forecast.seconds(10.0) == 30.0
