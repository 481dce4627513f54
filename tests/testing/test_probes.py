import pytest

from rheostat.core.errors import MeasurementError
from rheostat.testing.probes import FakeMeter, FakeProbe


def test_a_probe_replays_and_stays_at_the_last():
    probe = FakeProbe([1.0, None, 3.0], name="memory", unit="B", provenance="counter")
    assert probe.read() == 1.0
    with pytest.raises(MeasurementError, match="cannot be had. Given: reading 2 of memory"):
        probe.read()
    assert [probe.read(), probe.read()] == [3.0, 3.0]
    assert (probe.name, probe.unit, probe.provenance, probe.reads) == ("memory", "B", "counter", 4)


def test_a_meter_replays_and_minds_the_order():
    meter = FakeMeter([1.0, 2.0], provenance="estimated")
    with pytest.raises(MeasurementError, match="started before it is stopped"):
        meter.stop()
    seen = []
    for _ in range(3):
        meter.start()
        with pytest.raises(MeasurementError, match="one run at a time"):
            meter.start()
        seen.append(meter.stop())
    assert seen == [1.0, 2.0, 2.0]
    assert (meter.runs, meter.provenance) == (3, "estimated")


def test_there_is_something_to_replay():
    with pytest.raises(MeasurementError, match="at least one reading"):
        FakeProbe([])
    with pytest.raises(MeasurementError, match="at least one energy"):
        FakeMeter([])
