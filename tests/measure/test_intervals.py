import math
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.errors import MeasurementError
from rheostat.measure.intervals import bootstrap_interval, median_interval, wilson_interval

numbers = st.floats(-1e6, 1e6)


@given(st.lists(numbers, min_size=1, max_size=60))
def test_the_median_lies_in_its_interval(values):
    low, high = median_interval(values)
    assert min(values) <= low <= median(values) <= high <= max(values)


@given(st.integers(6, 200))
def test_the_interval_is_the_narrowest_that_holds_95_percent(count):
    low, high = median_interval(range(count))

    def coverage(below: int) -> float:
        return 1 - 2 * sum(math.comb(count, hits) for hits in range(below + 1)) / 2**count

    assert low + high == count - 1
    assert coverage(low) >= 0.95
    assert coverage(low + 1) < 0.95


@pytest.mark.parametrize(("count", "low", "high"), [(1, 0, 0), (5, 0, 4), (9, 1, 7), (10, 1, 8), (30, 9, 20)])
def test_known_order_statistics(count, low, high):
    assert median_interval(range(count)) == (low, high)


def test_wilson_against_published_values():
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@given(st.integers(1, 500), st.data())
def test_wilson_holds_the_share(trials, data):
    successes = data.draw(st.integers(0, trials))
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1


def test_bootstrap_is_repeatable_and_near_the_normal_interval():
    values = [float(number % 10) for number in range(400)]

    def mean(items):
        return sum(items) / len(items)

    low, high = bootstrap_interval(values, mean)
    assert (low, high) == bootstrap_interval(values, mean)
    half = 1.96 * (8.25 / 400) ** 0.5
    assert (low, high) == pytest.approx((4.5 - half, 4.5 + half), abs=0.06)


def test_bootstrap_of_equal_items_is_a_point():
    assert bootstrap_interval([3.0] * 5, max) == (3.0, 3.0)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: median_interval([]),
        lambda: wilson_interval(0, 0),
        lambda: bootstrap_interval([], len),
        lambda: bootstrap_interval([1], len, draws=39),
    ],
)
def test_nothing_to_measure_is_an_error(broken):
    with pytest.raises(MeasurementError):
        broken()
