import logging
import sys
import threading
import time
from types import ModuleType, SimpleNamespace

import pytest

from rheostat.core.errors import MeasurementError, RheostatError
from rheostat.measure.probes import energy, energy_libraries, nvml
from rheostat.measure.probes.energy import energy_meter, idle_power, nvml_meter, rapl_meter
from rheostat.measure.probes.energy_libraries import codecarbon_meter, zeus_meter
from rheostat.measure.probes.meter import CounterMeter
from rheostat.measure.probes.probe import Unavailable
from rheostat.testing.probes import FakeMeter

RANGE = 262_143_328_850


def zone(folder, name, label, microjoules=0, span=RANGE):
    made = folder / name
    made.mkdir(parents=True)
    (made / "name").write_text(label + "\n")
    (made / "energy_uj").write_text(f"{microjoules}\n")
    (made / "max_energy_range_uj").write_text(f"{span}\n")
    return made


def turn(made, microjoules):
    (made / "energy_uj").write_text(f"{microjoules}\n")


@pytest.fixture
def nothing(monkeypatch):
    """No library that measures energy is installed."""
    for name in ("pynvml", "zeus", "zeus.monitor", "codecarbon"):
        monkeypatch.setitem(sys.modules, name, None)


def test_packages_are_added_and_nothing_is_counted_twice(tmp_path):
    first = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    # What lies within the first package, the platform around both, the same package through another door, memory.
    inner = zone(tmp_path, "intel-rapl:0:0", "core")
    others = [
        inner,
        zone(first, "intel-rapl:0:1", "dram"),
        zone(tmp_path, "intel-rapl:0:2", "package-9"),
        zone(tmp_path, "intel-rapl:2", "psys"),
        zone(tmp_path, "intel-rapl-mmio:0", "package-0"),
        zone(tmp_path, "intel-rapl:3", "dram"),
    ]
    (tmp_path / "intel-rapl").mkdir()
    meter = rapl_meter(tmp_path)
    meter.start()
    turn(first, 3_500_000)
    turn(second, 6_000_000)
    for other in others:
        turn(other, 10**9)
    assert meter.stop() == pytest.approx(3.5)
    assert meter.provenance == "counter"
    assert meter.source == "RAPL package-0, package-1, without memory modules"


def test_a_counter_that_starts_again_at_its_range(tmp_path):
    made = zone(tmp_path, "intel-rapl:0", "package-0", RANGE - 1_000_000)
    meter = rapl_meter(tmp_path)
    meter.start()
    turn(made, 2_000_000)
    assert meter.stop() == pytest.approx(3.0)


def test_a_counter_that_starts_again_twice_is_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "_REFRESH", 0.01)
    made = zone(tmp_path, "intel-rapl:0", "package-0", 0, span=10_000_000)
    meter = rapl_meter(tmp_path)
    meter.start()
    for microjoules in (6_000_000, 2_000_000, 8_000_000, 4_000_000):
        # Whole, as the system would write it.
        (tmp_path / "next").write_text(f"{microjoules}\n")
        (tmp_path / "next").replace(made / "energy_uj")
        time.sleep(0.08)
    assert meter.stop() == pytest.approx(24.0)


def test_following_ends_with_the_run(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0")
    before = threading.active_count()
    meter = rapl_meter(tmp_path)
    meter.start()
    assert threading.active_count() == before + 1
    with pytest.raises(MeasurementError):
        meter.stop()
    assert threading.active_count() == before


def test_without_counters_or_leave_to_read_them(tmp_path, monkeypatch):
    with pytest.raises(MeasurementError, match="no package zone under"):
        rapl_meter(tmp_path / "missing")
    made = zone(tmp_path, "intel-rapl:0", "package-0")
    real = type(made).read_text

    def refuse(path, *arguments, **options):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(type(made), "read_text", refuse)
    with pytest.raises(MeasurementError, match="can be read.*Permission denied.*Let the user read"):
        rapl_meter(tmp_path)


def test_a_counter_that_does_not_move_is_no_zero():
    meter = CounterMeter(lambda: 5.0, "a test")
    meter.start()
    with pytest.raises(MeasurementError, match="more energy than the meter's step. Given: 0.0 J by a test"):
        meter.stop()


def test_one_run_at_a_time():
    meter = CounterMeter(iter([1.0, 4.0, 5.0, 7.0]).__next__, "a test")
    with pytest.raises(MeasurementError, match="started before it is stopped"):
        meter.stop()
    meter.start()
    with pytest.raises(MeasurementError, match="one run at a time"):
        meter.start()
    assert meter.stop() == 3.0
    meter.start()
    assert meter.stop() == 2.0


class FakeNvml:
    class NVMLError(Exception):
        pass

    def __init__(self, *, counter=True):
        self.counter, self.millijoules = counter, 1000

    def nvmlInit(self):  # noqa: N802
        if not self.counter:
            raise self.NVMLError("NVML Shared Library Not Found")

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        if index > 3:
            raise self.NVMLError("Invalid Argument")
        return f"number {index}"

    def nvmlDeviceGetHandleByUUID(self, name):  # noqa: N802
        return f"identifier {name}"

    def nvmlDeviceGetTotalEnergyConsumption(self, handle):  # noqa: N802
        if not self.counter:
            raise self.NVMLError("Not Supported")
        self.asked = handle
        return self.millijoules


@pytest.mark.parametrize(
    ("device", "visible", "asked"),
    [
        ("cuda", None, "number 0"),
        ("cuda:1", None, "number 1"),
        ("cuda:1", "3, 2", "number 2"),
        ("cuda:0", "GPU-abc", "identifier GPU-abc"),
    ],
)
def test_the_counter_of_the_right_gpu(monkeypatch, device, visible, asked):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    library = FakeNvml()
    meter = nvml_meter(device, library=library)
    meter.start()
    library.millijoules += 2500
    assert meter.stop() == 2.5
    assert library.asked == asked
    assert "GPU alone" in meter.source


def test_gpus_without_a_counter(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(MeasurementError, match="cuda: Not Supported"):
        nvml_meter(library=FakeNvml(counter=False))
    with pytest.raises(MeasurementError, match="cuda:9: Invalid Argument"):
        nvml_meter("cuda:9", library=FakeNvml())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(MeasurementError, match="cuda:1 with CUDA_VISIBLE_DEVICES=0"):
        nvml_meter("cuda:1", library=FakeNvml())


def test_bindings_without_a_driver(monkeypatch):
    monkeypatch.setattr(nvml, "require", lambda name, extra: FakeNvml(counter=False))
    with pytest.raises(MeasurementError, match="needs an NVIDIA driver. Given: NVML Shared Library Not Found"):
        nvml.open_nvml()


def test_where_nothing_can_be_read_the_reasons_are_told(nothing, tmp_path):
    found = energy_meter("cpu", powercap=tmp_path)
    assert isinstance(found, Unavailable)
    assert f"RAPL: no package zone under {tmp_path}; Zeus: This needs the package" in found.reason
    assert "CodeCarbon: This needs the package" in found.reason
    found = energy_meter("cuda:0", powercap=tmp_path)
    assert found.reason.startswith("NVML: ")
    assert "CodeCarbon" not in found.reason
    assert energy_meter("mps") == Unavailable("no energy source is known for mps")


def test_a_counter_of_the_processor_is_not_used_for_a_gpu(nothing, tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0")
    assert energy_meter("cpu", powercap=tmp_path).source.startswith("RAPL")
    assert isinstance(energy_meter("cuda", powercap=tmp_path), Unavailable)


class FakeZeus:
    def __init__(self, gpu_indices=None, cpu_indices=None):
        self.gpu_indices = gpu_indices
        self.cpu_indices = self.packages if cpu_indices is None else cpu_indices
        self.windows = []

    packages = (0, 1)

    def begin_window(self, name, sync_execution):
        assert not sync_execution
        self.windows.append(name)

    def end_window(self, name, sync_execution):
        assert not sync_execution
        self.windows.remove(name)
        return SimpleNamespace(gpu_energy={0: 7.0}, cpu_energy={0: 1.0, 1: 2.0} if self.packages else None)


class FakeTracker:
    instances: list

    def __init__(self, **options):
        sys.stdout.write("a word too many\n")
        logging.getLogger("codecarbon").warning("another")
        self.options, self.energies, self.running = options, [0.0, 2e-6], False
        FakeTracker.instances.append(self)

    def start_task(self):
        assert not self.running
        self.running = True

    def stop_task(self):
        assert self.running
        self.running = False
        return SimpleNamespace(cpu_energy=self.energies.pop(0), ram_energy=1.0, energy_consumed=1.0)


def module(name, **content):
    made = ModuleType(name)
    made.__dict__.update(content)
    return made


@pytest.fixture
def libraries(monkeypatch, nothing):
    FakeTracker.instances = []
    monkeypatch.setitem(sys.modules, "zeus", module("zeus"))
    monkeypatch.setitem(sys.modules, "zeus.monitor", module("zeus.monitor", ZeusMonitor=FakeZeus))
    monkeypatch.setitem(sys.modules, "codecarbon", module("codecarbon", OfflineEmissionsTracker=FakeTracker))


def run(meter):
    meter.start()
    return meter.stop()


def test_zeus_counts_what_the_model_runs_on(libraries):
    assert run(zeus_meter("cpu")) == 3.0
    assert run(zeus_meter("cuda:0")) == 7.0
    assert zeus_meter("cuda").source == "Zeus, GPU alone"
    assert zeus_meter("cpu").provenance == "counter"


def test_zeus_without_a_counter_is_passed_over(libraries, monkeypatch, tmp_path):
    monkeypatch.setattr(FakeZeus, "packages", ())
    with pytest.raises(MeasurementError, match="none for cpu"):
        zeus_meter("cpu")
    assert energy_meter("cpu", powercap=tmp_path).provenance == "estimated"


def test_sources_are_tried_in_order(libraries, tmp_path):
    assert energy_meter("cpu", powercap=tmp_path).source.startswith("Zeus")
    zone(tmp_path, "intel-rapl:0", "package-0")
    assert energy_meter("cpu", powercap=tmp_path).source.startswith("RAPL")


def test_codecarbon_is_an_estimate_and_keeps_to_itself(libraries, capsys, caplog):
    meter = codecarbon_meter()
    (tracker,) = FakeTracker.instances
    assert tracker.options["output_methods"] == []
    assert tracker.options["emissions_endpoint"] is None
    assert capsys.readouterr() == ("", "")
    assert not caplog.records
    assert not logging.getLogger("codecarbon").disabled
    assert meter.provenance == "estimated"
    assert "TDP) x load" in meter.source
    # The processor's 2e-6 kWh alone: memory is a constant of CodeCarbon's.
    assert run(meter) == pytest.approx(7.2)


@pytest.mark.parametrize("make", [zeus_meter, codecarbon_meter])
def test_meters_of_libraries_take_one_run_at_a_time(libraries, make):
    meter = make()
    with pytest.raises(MeasurementError, match="started before"):
        meter.stop()
    meter.start()
    with pytest.raises(MeasurementError, match="one run at a time"):
        meter.start()


def test_what_goes_wrong_in_a_library_is_a_reason(libraries, monkeypatch, tmp_path):
    def fail(*_, **__):
        raise RuntimeError("a broken install")

    monkeypatch.setattr(FakeZeus, "__init__", fail)
    monkeypatch.setattr(FakeTracker, "__init__", fail)
    with pytest.raises(MeasurementError, match="Zeus can be started. Given: RuntimeError: a broken install"):
        zeus_meter("cpu")
    found = energy_meter("cpu", powercap=tmp_path)
    assert "CodeCarbon: RuntimeError: a broken install" in found.reason
    assert not logging.getLogger("codecarbon").disabled


def test_libraries_that_are_missing_are_named(nothing):
    with pytest.raises(RheostatError, match=r"rheostat\[energy\]"):
        zeus_meter()
    with pytest.raises(RheostatError, match=r"rheostat\[energy\]"):
        codecarbon_meter()
    with pytest.raises(RheostatError, match=r"rheostat\[energy\]"):
        nvml.open_nvml()


def test_idle_power_is_energy_over_time(monkeypatch):
    clock = iter([10.0, 12.5])
    slept = []
    monkeypatch.setattr(energy.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(energy.time, "sleep", slept.append)
    assert idle_power(FakeMeter([20.0]), seconds=2.4) == 8.0
    assert slept == [2.4]
    with pytest.raises(MeasurementError, match="takes time"):
        idle_power(FakeMeter([20.0]), seconds=0)


def test_the_table_of_sources_names_every_maker():
    assert [name for name, _ in energy._sources("cpu", energy.POWERCAP)] == ["RAPL", "Zeus", "CodeCarbon"]
    assert [name for name, _ in energy._sources("cuda:1", energy.POWERCAP)] == ["NVML", "Zeus"]
    assert energy_libraries._EXTRA == "energy"
