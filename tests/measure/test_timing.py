import pytest
from hypothesis import given
from hypothesis import strategies as st

from rheostat.core.errors import MeasurementError
from rheostat.measure.timing import PairedTiming, paired

seconds = st.floats(1e-6, 1e3)


class FakeClock:
    """A clock that only work moves on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def work(self, name, seconds, calls):
        def run() -> None:
            calls.append(name)
            self.now += seconds

        return run


def test_order_is_swapped_from_pair_to_pair_after_the_warm_up():
    clock, calls = FakeClock(), []
    timing = paired(clock.work("p", 2.0, calls), clock.work("o", 1.0, calls), 3, warmup=1, clock=clock)
    assert "".join(calls) == "po" + "po" + "op" + "po"
    assert timing == PairedTiming((2.0,) * 3, (1.0,) * 3)
    assert (timing.pairs, timing.plain_seconds, timing.seconds) == (3, 2.0, 1.0)
    assert (timing.speedup, timing.cost) == (2.0, 0.5)


def test_seconds_go_to_whoever_spent_them():
    clock = FakeClock()
    drifting = iter([1.0, 2.0, 3.0, 4.0])

    def plain() -> None:
        clock.now += next(drifting)

    def other() -> None:
        clock.now += 10.0

    assert paired(plain, other, 4, warmup=0, clock=clock).plain == (1.0, 2.0, 3.0, 4.0)


def test_the_device_is_waited_for_inside_the_timed_span():
    clock, pending = FakeClock(), []

    def launch() -> None:
        pending.append(3.0)

    def synchronise() -> None:
        clock.now += sum(pending)
        pending.clear()

    timing = paired(launch, launch, 2, clock=clock, synchronise=synchronise)
    assert timing.plain == timing.other == (3.0, 3.0)


def test_a_slow_spell_that_hits_whole_pairs_leaves_the_ratio_alone():
    timing = PairedTiming((2.0, 20.0, 2.0, 40.0), (1.0, 10.0, 1.0, 20.0))
    assert timing.speedup == 2.0
    assert timing.speedup_interval == (2.0, 2.0)
    assert timing.cost_interval == (0.5, 0.5)


@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=40))
def test_the_ratio_lies_in_its_interval(pairs):
    timing = PairedTiming(*map(tuple, zip(*pairs, strict=True)))
    assert timing.speedup_interval[0] <= timing.speedup <= timing.speedup_interval[1]
    assert timing.cost_interval[0] <= timing.cost <= timing.cost_interval[1]


def test_what_cannot_be_timed_is_refused():
    with pytest.raises(MeasurementError, match="at least one pair"):
        paired(int, int, 0)
    with pytest.raises(MeasurementError, match="no warm-up below 0"):
        paired(int, int, 1, warmup=-1)
    with pytest.raises(MeasurementError, match="longer than the clock's step"):
        paired(int, int, 1, clock=lambda: 5.0)
    with pytest.raises(MeasurementError, match="as many seconds"):
        PairedTiming((1.0,), ())
