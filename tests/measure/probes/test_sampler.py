import subprocess
import sys
import threading
import time

import pytest

from rheostat.core.errors import MeasurementError
from rheostat.measure.probes import sampler as module
from rheostat.measure.probes.probe import ResidentMemory
from rheostat.measure.probes.sampler import Sampler
from rheostat.testing.probes import FakeProbe


class SlowProbe(FakeProbe):
    """Takes its time at some readings."""

    def __init__(self, seconds, slow):
        super().__init__([1.0])
        self.seconds, self.slow = seconds, slow

    def read(self):
        value = super().read()
        if self.reads - 1 in self.slow:
            time.sleep(self.seconds)
        return value


class BrokenProbe(FakeProbe):
    def read(self):
        if super().read() > 1.0:
            raise ZeroDivisionError("a fault")
        return 1.0


def test_readings_come_at_even_intervals():
    with Sampler([FakeProbe([1.0, 2.0, 3.0])], interval=0.02) as sampler:
        time.sleep(0.21)
    trace = sampler.trace("fake")
    assert trace.values[:3] == (1.0, 2.0, 3.0)
    assert trace.duration == pytest.approx(sampler.elapsed, abs=0.02)
    assert sampler.ticks_wanted == int(sampler.elapsed / 0.02) >= 10
    # Machines that run tests are busy: a tick or two may come late.
    assert sampler.ticks_taken >= sampler.ticks_wanted - 3
    assert len(trace) == sampler.ticks_taken + 2


def test_a_delay_moves_no_later_reading():
    with Sampler([SlowProbe(0.085, slow={2})], interval=0.02) as sampler:
        time.sleep(0.3)
    start = sampler.trace("fake").times[0]
    offsets = [(time - start) % 0.02 for time in sampler.trace("fake").times[4:-1]]
    # Still on the grid, where a relative wait would have been 5 ms off for good.
    assert sorted(offsets)[len(offsets) // 2] < 0.004
    assert sampler.ticks_wanted - sampler.ticks_taken >= 4
    assert sampler.lost == pytest.approx(1 - sampler.ticks_taken / sampler.ticks_wanted)


def test_the_area_survives_lost_ticks():
    with Sampler([SlowProbe(0.05, slow={1, 2})], interval=0.01) as sampler:
        time.sleep(0.15)
    assert sampler.trace("fake").mean() == pytest.approx(1.0)
    assert sampler.lost > 0.3


def test_a_short_body_has_two_readings_and_no_tick():
    with Sampler([FakeProbe([5.0, 7.0])], interval=60.0) as sampler:
        pass
    assert sampler.trace("fake").values == (5.0, 7.0)
    assert (sampler.ticks_wanted, sampler.ticks_taken, sampler.lost) == (0, 0, 0.0)


def test_leaving_does_not_wait_for_the_next_tick():
    start = time.perf_counter()
    with Sampler([FakeProbe([1.0])], interval=60.0):
        pass
    assert time.perf_counter() - start < 5.0


def test_what_cannot_be_read_leaves_a_gap_and_a_reason():
    probes = [FakeProbe([1.0, None, None, 4.0], "now and then"), FakeProbe([None], "never")]
    with Sampler(probes, interval=0.005) as sampler:
        time.sleep(0.1)
    assert sampler.trace("now and then").values[:2] == (1.0, 4.0)
    assert list(sampler.traces) == ["now and then"]
    assert "cannot be had" in sampler.failures["never"]
    with pytest.raises(MeasurementError, match="needs a reading.*cannot be had"):
        sampler.trace("never")
    with pytest.raises(MeasurementError, match="no probe 'other'"):
        sampler.trace("other")


def test_a_process_that_ends_keeps_its_trace():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, text=True)
    with Sampler([ResidentMemory(process.pid)], interval=0.005) as sampler:
        time.sleep(0.05)
        process.communicate("\n")
        time.sleep(0.05)
    assert sampler.trace("memory_resident").peak() > 1e6
    assert "has ended" in sampler.failures["memory_resident"]


def test_a_fault_in_a_probe_comes_out_at_the_end():
    with pytest.raises(ZeroDivisionError, match="a fault"), Sampler([BrokenProbe([1.0, 2.0])], interval=0.001):
        time.sleep(0.05)


def test_an_error_of_the_body_comes_first():
    def body():
        with Sampler([BrokenProbe([1.0, 2.0])], interval=0.001):
            time.sleep(0.05)
            raise KeyError("body")

    with pytest.raises(KeyError, match="body"):
        body()


def test_the_thread_ends_with_the_body():
    before = threading.active_count()
    with Sampler([FakeProbe([1.0])], interval=0.001) as sampler:
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
    with pytest.raises(MeasurementError, match="runs once"), sampler:
        pass


def test_its_own_cost_is_its_threads_time():
    with Sampler([FakeProbe([1.0])], interval=0.01) as idle:
        time.sleep(0.1)
    with Sampler([BusyProbe([1.0])], interval=0.01) as busy:
        time.sleep(0.2)
    assert 0.0 < idle.cost < 0.15
    assert busy.cost > 2 * idle.cost


class BusyProbe(FakeProbe):
    def read(self):
        end = time.thread_time() + 0.005
        while time.thread_time() < end:
            pass
        return super().read()


def test_what_is_no_sampler_is_refused():
    with pytest.raises(MeasurementError, match="at least one probe"):
        Sampler([])
    with pytest.raises(MeasurementError, match="name of its own. Given: \\['fake', 'fake'\\]"):
        Sampler([FakeProbe([1.0]), FakeProbe([2.0])])
    with pytest.raises(MeasurementError, match="above 0"):
        Sampler([FakeProbe([1.0])], interval=0.0)


def test_two_readings_in_one_step_of_the_clock_are_one():
    assert module._trace([(0.0, 1.0), (0.0, 2.0), (1.0, 3.0)]).values == (2.0, 3.0)
