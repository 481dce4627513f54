import random
import statistics

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.core import percentiles
from rheostat.core.errors import MeasurementError
from rheostat.core.percentiles import latency_percentiles, percentile, percentile_estimate

times = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=60)


@given(times, st.floats(0, 100))
def test_percentiles_are_numpys(values, rank):
    assert percentile(values, rank) == pytest.approx(numpy.percentile(values, rank), rel=1e-9)


def test_percentiles_by_hand():
    assert [percentile([10.0, 20.0, 30.0, 40.0, 50.0], rank) for rank in (0, 50, 90, 100)] == [10.0, 30.0, 46.0, 50.0]
    assert percentile([7.0], 99) == 7.0


@pytest.mark.parametrize(("values", "rank"), [([], 50), ([1.0], 101), ([1.0], -1)])
def test_a_percentile_needs_values_and_a_rank(values, rank):
    with pytest.raises(MeasurementError, match="rank from 0 to 100"):
        percentile(values, rank)


@given(times, st.floats(0, 100), st.integers(0, 9))
@settings(max_examples=50)
def test_an_interval_holds_its_value_and_lies_among_the_samples(values, rank, seed):
    found = percentile_estimate(values, rank, draws=40, seed=seed)
    assert min(values) <= found.low <= found.value <= found.high <= max(values)


@pytest.mark.parametrize("rank", [50, 90, 99])
@pytest.mark.parametrize("count", [2, 7, 40])
def test_the_quick_bootstrap_is_the_plain_one(rank, count):
    generator, draws = random.Random(3), 4000
    values = sorted(generator.expovariate(1.0) for _ in range(count))
    plain = [percentile(generator.choices(values, k=count), rank) for _ in range(draws)]
    quick = list(percentiles._resampled(values, rank, draws, generator))
    spread = statistics.pstdev(plain) or 1.0
    assert statistics.fmean(quick) == pytest.approx(statistics.fmean(plain), abs=0.08 * spread)
    assert statistics.pstdev(quick) == pytest.approx(statistics.pstdev(plain), rel=0.1)
    for cut in (0.025, 0.25, 0.75, 0.975):
        mark = percentile(plain, 100 * cut)
        shares = [sum(value <= mark for value in values) / draws for values in (plain, quick)]
        assert shares[0] == pytest.approx(shares[1], abs=0.04)


def test_intervals_of_the_median_hold_it_nineteen_times_of_twenty():
    generator = random.Random(0)
    hits = 0
    for trial in range(400):
        values = [generator.gauss(10.0, 1.0) for _ in range(60)]
        found = percentile_estimate(values, 50, draws=200, seed=trial)
        hits += found.low <= 10.0 <= found.high
    # Binomial: 95 % of 400 is 380 +- 13 at three standard deviations.
    assert 362 <= hits <= 396


def test_latency_has_four_percentiles_that_can_be_had_again():
    generator = random.Random(5)
    seconds = [generator.expovariate(10.0) for _ in range(200)]
    found = latency_percentiles(seconds)
    assert list(found) == [50, 90, 95, 99]
    assert found == latency_percentiles(seconds)
    assert found != latency_percentiles(seconds, seed=1)
    assert found[50].value == pytest.approx(statistics.median(seconds))
    assert found[99].value <= max(seconds)


def test_a_bootstrap_needs_draws():
    with pytest.raises(MeasurementError, match="40 draws. Given: 39"):
        percentile_estimate([1.0], 50, draws=39)
