from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.errors import MeasurementError
from rheostat.core.statistics import fewest_values, paired_ratio, signed_rank_interval

NUMBERS = st.lists(st.floats(-100, 100), min_size=1, max_size=14)


@given(NUMBERS)
def test_the_estimate_lies_in_its_interval_and_in_the_range(values: list[float]) -> None:
    found = signed_rank_interval(values)
    assert min(values) <= found.low <= found.value <= found.high <= max(values)


@given(NUMBERS, st.floats(-50, 50))
def test_shifting_the_values_shifts_the_interval(values: list[float], shift: float) -> None:
    plain, moved = signed_rank_interval(values), signed_rank_interval([value + shift for value in values])
    assert moved.value == pytest.approx(plain.value + shift, abs=1e-6)
    assert moved.low == pytest.approx(plain.low + shift, abs=1e-6)


@pytest.mark.parametrize("count", [6, 7, 8, 9, 10])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_interval_is_the_narrowest_that_holds_often_enough(count: int, confidence: float) -> None:
    # With values of every sign at fixed, generic sizes, the interval misses 0 in exactly the tails of the rank sum.
    sizes = [1.0 + at + math.pi / (at + 3) for at in range(count)]
    signs = itertools.product((-1, 1), repeat=count)
    found = [signed_rank_interval([a * b for a, b in zip(sizes, sign, strict=True)], confidence) for sign in signs]
    missed = sum(not one.low <= 0 <= one.high for one in found) / 2**count
    assert missed <= 1 - confidence or count < fewest_values(confidence)
    if count >= fewest_values(confidence):
        assert missed > 0


def test_as_published() -> None:
    # Hollander and Wolfe, Nonparametric Statistical Methods, example 3.1 (depression scale): estimate -0.46, 96 %
    # interval (-0.786, -0.010).
    before = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
    after = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
    found = signed_rank_interval([b - a for a, b in zip(before, after, strict=True)], 0.95)
    assert found.value == pytest.approx(-0.46, abs=0.005)
    assert (found.low, found.high) == (pytest.approx(-0.786, abs=0.001), pytest.approx(-0.010, abs=0.001))


def test_equal_pairs_are_told_apart_at_most_five_times_in_a_hundred() -> None:
    generator = random.Random(3)
    missed = 0
    for _ in range(1000):
        ratio = paired_ratio([math.exp(generator.gauss(0, 0.05)) for _ in range(10)])
        missed += not ratio.low <= 1 <= ratio.high
    assert missed <= 65


def test_a_wild_value_does_not_move_it() -> None:
    assert paired_ratio([1.0] * 9 + [50.0]).value == 1.0


def test_fewest_values() -> None:
    for confidence in (0.9, 0.95, 0.99, 0.999):
        count = fewest_values(confidence)
        assert 2 * 0.5**count <= 1 - confidence + 1e-12 < 2 * 0.5 ** (count - 1) + 1e-12


@pytest.mark.parametrize("ratios", [[], [0.0, 1.0], [1.0, math.inf], [-1.0]])
def test_nonsense_is_refused(ratios: list[float]) -> None:
    with pytest.raises(MeasurementError):
        paired_ratio(ratios)
