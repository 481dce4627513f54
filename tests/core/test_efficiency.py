import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core import efficiency
from rheostat.core.efficiency import (
    Energy,
    average_latency,
    compression,
    compute_utilisation,
    cost_per_million_tokens,
    inference_throughput,
    memory_use,
    sample_throughput,
    training_throughput,
)
from rheostat.core.errors import MeasurementError
from rheostat.core.traces import Trace


def test_compression_reproduces_the_published_tables():
    # EfficientLLM, int4 against bf16: the nominal factor 4, times the ratio of the mean scores.
    assert compression(4, 1, 0.5523, 0.5095) == pytest.approx(3.690, abs=5e-4)
    assert compression(4, 1, 0.4719, 0.4361) == pytest.approx(3.6965, abs=5e-5)


def test_three_sizes_give_three_ratios():
    assert compression(16, 4) == 4.0
    assert compression(71.33, 48.30) == pytest.approx(1.4768, abs=1e-4)


def test_where_lower_quality_is_better_the_ratio_turns_over():
    assert compression(2, 1, 10.0, 12.5, lower=True) == pytest.approx(1.6)
    assert compression(2, 1, 10.0, 12.5) == pytest.approx(2.5)


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (-1, 1), (math.inf, 1), (1, math.nan)])
def test_sizes_are_above_zero(sizes):
    with pytest.raises(MeasurementError, match="size is above 0"):
        compression(*sizes)


@pytest.mark.parametrize("quality", [(0.0, 0.5, False), (0.5, -0.1, False), (0.5, 0.0, True)])
def test_quality_has_to_fit(quality):
    plain, here, lower = quality
    with pytest.raises(MeasurementError, match="uality"):
        compression(1, 1, plain, here, lower=lower)


def test_memory_of_a_constant_a_ramp_and_uneven_samples():
    assert memory_use(Trace((0.0, 9.0), (4.0, 4.0))) == efficiency.MemoryUse(4.0, 4.0)
    assert memory_use(Trace((0.0, 1.0), (0.0, 6.0))) == efficiency.MemoryUse(3.0, 6.0)
    uneven = memory_use(Trace((0.0, 1.0, 1.5, 2.0, 10.0), (1.0, 1.0, 9.0, 1.0, 1.0)))
    assert uneven.mean == pytest.approx((1.0 + 2.5 + 2.5 + 8.0) / 10)
    assert uneven.peak == 9.0
    assert uneven.share(18.0) == (pytest.approx(uneven.mean / 18), 0.5)


def test_capacity_is_above_zero():
    with pytest.raises(MeasurementError, match="capacity is above 0 bytes"):
        efficiency.MemoryUse(1.0, 1.0).share(0)


def test_utilisation_counts_two_operations_a_multiply_accumulate():
    assert compute_utilisation(macs=10.0, seconds=2.0, peak=40.0) == 0.25
    # Not cut off at 1: that would hide a peak that is wrong.
    assert compute_utilisation(macs=10.0, seconds=0.25, peak=40.0) == 2.0


@pytest.mark.parametrize(("macs", "seconds", "peak"), [(-1, 1, 1), (1, 0, 1), (1, 1, 0), (math.nan, 1, 1)])
def test_utilisation_refuses_nonsense(macs, seconds, peak):
    with pytest.raises(MeasurementError):
        compute_utilisation(macs, seconds, peak)


def test_mean_latency_has_communication_in_it():
    assert average_latency([1.0, 3.0]) == 2.0
    assert average_latency([1.0, 3.0], [0.5, 0.5]) == 2.5
    with pytest.raises(MeasurementError, match="Given: 2 and 1"):
        average_latency([1.0, 2.0], [0.5])
    with pytest.raises(MeasurementError, match="at least one request"):
        average_latency([])


def test_throughputs_are_ratios_of_sums():
    # The mean of the ratios would be (10 + 100) / 2.
    assert inference_throughput([10, 100], [1.0, 1.0]) == 55.0
    assert inference_throughput([10, 300], [1.0, 3.0]) == 77.5
    assert training_throughput([512, 512], [1.0, 3.0]) == 256.0
    assert sample_throughput([8, 8], [1.0, 3.0]) == 4.0


def test_published_training_throughputs_are_for_each_parameter():
    assert training_throughput([1e6], [2.0], parameters=1000) == 500.0
    assert sample_throughput([100], [2.0], parameters=10) == 5.0


@pytest.mark.parametrize("rate", [inference_throughput, training_throughput, sample_throughput])
def test_a_throughput_needs_counts_and_time(rate):
    with pytest.raises(MeasurementError, match="Given: 0 counts, 0 times"):
        rate([], [])
    with pytest.raises(MeasurementError, match="Given: 2 counts, 1 times"):
        rate([1, 2], [1.0])
    with pytest.raises(MeasurementError, match="above 0 seconds"):
        rate([1], [0.0])


def test_parameters_are_counted():
    with pytest.raises(MeasurementError, match="at least one to divide by. Given: 0"):
        training_throughput([1], [1.0], parameters=0)


def test_power_is_watts_and_energy_is_joules():
    run = Energy(joules=100.0, seconds=20.0, idle_watts=2.0)
    assert (run.mean_watts, run.net_watts, run.net_joules) == (5.0, 3.0, 60.0)
    assert (run.per(50), run.net_per(50)) == (2.0, 1.2)


def test_without_idle_power_there_is_no_net_energy():
    run = Energy(joules=100.0, seconds=20.0)
    assert (run.net_watts, run.net_joules, run.net_per(5)) == (None, None, None)
    assert run.per(5) == 20.0


@given(st.floats(0, 1e6), st.floats(1e-3, 1e5), st.floats(0, 1e3), st.integers(1, 10**6))
def test_net_is_gross_less_idle_whichever_way_it_is_taken(joules, seconds, idle, count):
    run = Energy(joules, seconds, idle)
    assert run.net_watts * seconds == pytest.approx(run.net_joules, abs=1e-6 * max(1.0, joules, idle * seconds))
    assert run.per(count) * count == pytest.approx(joules)


@pytest.mark.parametrize(
    ("joules", "seconds", "idle", "words"),
    [(-1.0, 1.0, None, "Energy is"), (1.0, 0.0, None, "above 0 seconds"), (1.0, 1.0, -1.0, "Idle power is")],
)
def test_energy_refuses_nonsense(joules, seconds, idle, words):
    with pytest.raises(MeasurementError, match=words):
        Energy(joules, seconds, idle)


def test_energy_is_for_at_least_one():
    with pytest.raises(MeasurementError, match="at least one"):
        Energy(1.0, 1.0).per(0)
    with pytest.raises(MeasurementError, match="at least one"):
        Energy(1.0, 1.0).net_per(0)


def test_cost_of_a_million_tokens():
    # 100 tokens a second are 360,000 an hour: a million take 2.78 hours.
    assert cost_per_million_tokens(0.10, 100.0) == pytest.approx(0.10 * 1e6 / 360_000)
    assert cost_per_million_tokens(0.0, 1.0) == 0.0
    with pytest.raises(MeasurementError, match="above 0 tokens a second"):
        cost_per_million_tokens(1.0, 0.0)
    with pytest.raises(MeasurementError, match="price is a finite number"):
        cost_per_million_tokens(-1.0, 1.0)
