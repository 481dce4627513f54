import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.errors import MeasurementError
from rheostat.core.traces import Trace

steps = st.lists(
    st.tuples(st.floats(1e-3, 1e3), st.floats(-1e6, 1e6)),
    min_size=1,
    max_size=20,
)


@st.composite
def traces(draw: st.DrawFn, *, least: int = 1) -> Trace:
    drawn = draw(steps.filter(lambda found: len(found) >= least))
    time, times = draw(st.floats(-1e3, 1e3)), []
    for step, _ in drawn:
        time += step
        times.append(time)
    return Trace(tuple(times), tuple(value for _, value in drawn))


def irregular(function, start, end, count):
    generator = random.Random(1)
    inner = sorted(generator.uniform(start, end) for _ in range(count))
    times = (start, *inner, end)
    return Trace(times, tuple(map(function, times)))


def test_a_constant():
    trace = Trace((0.0, 0.1, 5.0, 7.0), (3.0, 3.0, 3.0, 3.0))
    assert trace.integral() == 21.0
    assert trace.mean() == 3.0
    assert trace.peak() == 3.0


def test_a_ramp():
    trace = Trace((0.0, 4.0), (0.0, 8.0))
    assert trace.integral() == 16.0
    assert trace.mean() == 4.0
    assert trace.peak() == 8.0
    assert trace.duration == 4.0


def test_a_ramp_sampled_irregularly_keeps_its_integral():
    trace = irregular(lambda time: 2 * time + 1, 0.0, 10.0, 57)
    assert trace.integral() == pytest.approx(110.0, rel=1e-12)
    assert trace.mean() == pytest.approx(11.0, rel=1e-12)


def test_a_parabola_comes_out_to_the_second_order():
    trace = irregular(lambda time: time**2, 0.0, 3.0, 2000)
    assert trace.integral() == pytest.approx(9.0, rel=1e-5)


def test_the_mean_is_weighted_by_time_and_not_by_samples():
    # Ten samples in the first second, one at the end of the next nine: most of the time the value was 100.
    early = tuple(tick / 10 for tick in range(10))
    trace = Trace((*early, 1.0, 10.0), (*(0.0,) * 10, 100.0, 100.0))
    samples = sum(trace.values) / len(trace)
    assert trace.mean() == pytest.approx((0.05 * 100 + 9 * 100) / 10)
    assert samples == pytest.approx(200 / 12)


def test_one_sample_has_a_mean_and_no_area():
    trace = Trace((5.0,), (7.0,))
    assert (trace.mean(), trace.peak(), trace.integral(), trace.duration) == (7.0, 7.0, 0.0, 0.0)


@given(traces())
def test_the_mean_lies_between_the_least_and_the_most(trace):
    slack = 1e-9 * max(1.0, *map(abs, trace.values))
    assert min(trace.values) - slack <= trace.mean() <= trace.peak() + slack


@given(traces(), st.floats(-1e6, 1e6))
def test_idle_is_taken_off_the_mean_and_off_the_area(trace, idle):
    net = trace.less(idle)
    scale = max(1.0, abs(idle), *map(abs, trace.values))
    assert net.mean() == pytest.approx(trace.mean() - idle, abs=1e-9 * scale)
    area = trace.integral() - idle * trace.duration
    assert net.integral() == pytest.approx(area, abs=1e-9 * scale * max(1.0, trace.duration))


@given(traces(least=2), st.floats(0.0, 1.0))
def test_two_parts_have_the_area_of_the_whole(trace, share):
    first, last = trace.times[0], trace.times[-1]
    cut = min(last, first + share * trace.duration)
    parts = trace.between(first, cut).integral() + trace.between(cut, last).integral()
    scale = max(1.0, *map(abs, trace.values)) * max(1.0, trace.duration)
    assert parts == pytest.approx(trace.integral(), abs=1e-9 * scale)


@given(traces())
def test_the_whole_window_is_the_trace(trace):
    assert trace.between(trace.times[0], trace.times[-1]) == trace


@given(traces(), st.floats(-1e3, 1e3))
def test_a_constant_added_between_samples_changes_nothing(trace, shift):
    moved = Trace(tuple(time + 0.0 for time in trace.times), tuple(value + shift for value in trace.values))
    middle = trace.times[0] + trace.duration / 2
    scale = max(1.0, abs(shift), *map(abs, trace.values))
    assert moved.at(middle) == pytest.approx(trace.at(middle) + shift, abs=1e-9 * scale)


def test_a_window_is_interpolated_at_both_ends():
    trace = Trace((0.0, 1.0, 2.0, 4.0), (0.0, 10.0, 0.0, 8.0))
    assert trace.between(0.5, 3.0) == Trace((0.5, 1.0, 2.0, 3.0), (5.0, 10.0, 0.0, 4.0))
    assert trace.between(1.0, 2.0) == Trace((1.0, 2.0), (10.0, 0.0))
    assert trace.between(3.0, 3.0) == Trace((3.0,), (4.0,))
    assert trace.at(0.25) == 2.5


def test_pairs_count_time_from_the_first_sample():
    assert Trace((5.0, 5.5), (1.0, 2.0)).pairs() == [[0.0, 1.0], [0.5, 2.0]]


def test_lists_become_what_cannot_change():
    assert Trace([0.0, 1.0], [2.0, 3.0]) == Trace((0.0, 1.0), (2.0, 3.0))
    assert hash(Trace([0.0], [1.0])) == hash(Trace((0.0,), (1.0,)))


@pytest.mark.parametrize(
    ("times", "values", "words"),
    [
        ((), (), "at least one time, and a value for each. Given: 0 times, 0 values"),
        ((0.0, 1.0), (1.0,), "2 times, 1 values"),
        ((0.0, 1.0, 1.0), (1.0, 1.0, 1.0), "times of a trace increase. Given: 1.0 s after 1.0 s"),
        ((1.0, 0.0), (1.0, 1.0), "increase"),
        ((0.0, 1.0), (1.0, math.nan), "finite"),
        ((0.0, math.inf), (1.0, 1.0), "finite"),
    ],
)
def test_what_is_no_trace_is_refused(times, values, words):
    with pytest.raises(MeasurementError, match=words):
        Trace(times, values)


def test_windows_lie_in_the_trace():
    trace = Trace((1.0, 2.0), (0.0, 0.0))
    with pytest.raises(MeasurementError, match="knows the time from 1.0 s to 2.0 s. Given: 0.5 s"):
        trace.between(0.5, 1.5)
    with pytest.raises(MeasurementError, match="Given: 2.5 s"):
        trace.between(1.5, 2.5)
    with pytest.raises(MeasurementError, match="ends after its start"):
        trace.between(1.6, 1.5)
