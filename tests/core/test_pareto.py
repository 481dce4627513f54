import itertools
import math
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.pareto import crowding, dominates, front, hypervolume, surely_dominates

# Few different values, so that ties are common.
values = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, 1.25])


def clouds(least: int = 0, most: int = 7):
    return st.integers(1, 5).flatmap(
        lambda size: st.lists(st.tuples(*[values] * size), min_size=max(1, least), max_size=most)
    )


def by_inclusion_and_exclusion(points, reference):
    """The volume of a union of boxes, by its definition."""
    total = 0.0
    for count in range(1, len(points) + 1):
        for chosen in itertools.combinations(points, count):
            sides = [
                max(0.0, edge - max(column)) for edge, column in zip(reference, zip(*chosen, strict=True), strict=True)
            ]
            total -= (-1) ** count * math.prod(sides)
    return total


@given(clouds())
def test_hypervolume_is_the_volume_of_the_union(points):
    reference = (1.0,) * len(points[0])
    assert hypervolume(points, reference) == pytest.approx(by_inclusion_and_exclusion(points, reference), abs=1e-12)


@given(clouds(least=2), st.randoms())
def test_hypervolume_knows_no_order_and_no_dominated_points(points, source):
    reference = (1.5,) * len(points[0])
    shuffled = list(points)
    source.shuffle(shuffled)
    kept = [points[at] for at in front(points)]
    assert hypervolume(shuffled, reference) == pytest.approx(hypervolume(points, reference))
    assert hypervolume(kept, reference) == pytest.approx(hypervolume(points, reference))


@pytest.mark.parametrize("objectives", [2, 3, 4, 5])
def test_hypervolume_agrees_with_a_library(objectives):
    moocore = pytest.importorskip("moocore")
    source = random.Random(objectives)
    points = [tuple(source.random() for _ in range(objectives)) for _ in range(40)]
    assert hypervolume(points, (0.9,) * objectives) == pytest.approx(
        moocore.hypervolume([list(point) for point in points], ref=[0.9] * objectives), rel=1e-12
    )


def test_hypervolume_of_a_search_is_quick():
    source = random.Random(0)
    points = [tuple(source.random() for _ in range(4)) for _ in range(60)]
    start = time.process_time()
    for count in range(1, 61):
        hypervolume(points[:count], (1.0,) * 4)
    assert time.process_time() - start < 2.0


def test_hypervolume_without_points_or_inside_is_nothing():
    assert hypervolume([], (1.0, 1.0)) == 0.0
    assert hypervolume([(1.0, 0.0), (2.0, 0.5)], (1.0, 1.0)) == 0.0


def test_hypervolume_wants_as_many_objectives_as_the_reference():
    with pytest.raises(ValueError, match="as many objectives as the reference"):
        hypervolume([(1.0,)], (1.0, 1.0))


@given(clouds(least=1))
def test_the_front_is_what_nothing_dominates(points):
    expected = [at for at, point in enumerate(points) if not any(dominates(other, point) for other in points)]
    assert front(points) == expected


@given(clouds(least=3))
def test_dominance_is_a_strict_order(points):
    for first, second, third in itertools.permutations(points[:4], 3):
        assert not dominates(first, first)
        assert not (dominates(first, second) and dominates(second, first))
        if dominates(first, second) and dominates(second, third):
            assert dominates(first, third)


intervals = st.lists(st.tuples(values, values).map(lambda ends: tuple(sorted(ends))), min_size=2, max_size=2)


@given(intervals, intervals)
def test_sure_dominance_holds_wherever_the_truth_lies(first, second):
    corners = [list(itertools.product(*one)) for one in (first, second)]
    everywhere = all(dominates(left, right) for left, right in itertools.product(*corners))
    assert surely_dominates(first, second) == everywhere


def test_noise_leaves_both_standing():
    better, worse = [(1.0, 1.0), (1.0, 1.2)], [(1.5, 1.5), (1.1, 1.4)]
    assert dominates((1.0, 1.1), (1.5, 1.25))
    assert not surely_dominates(better, worse)


def test_crowding_is_infinite_at_the_ends_and_the_share_of_the_range_between():
    assert crowding([(0.0, 4.0), (4.0, 0.0), (1.0, 2.0)]) == [math.inf, math.inf, 2.0]
    assert crowding([]) == []
    assert crowding([(1.0, 1.0)] * 3) == [math.inf, 0.0, math.inf]
