import json
import os

import pytest
import torch

from rheostat.core.errors import MeasurementError
from rheostat.core.machine import machine_facts
from rheostat.core.profile import same_machine
from rheostat.measure.probes import hardware as probe
from rheostat.measure.probes.probe import Unavailable
from rheostat.testing.probes import FakeMeter


def test_torch_adds_to_the_facts_and_they_stay_the_same_machine():
    facts = probe.machine("cpu")
    assert json.loads(json.dumps(facts)) == facts
    assert facts["torch_threads"] == torch.get_num_threads()
    assert facts["device"] == "cpu"
    assert same_machine(facts, machine_facts())
    assert same_machine(machine_facts(), facts)


def test_the_cpu_is_the_first_device():
    first = probe.devices()[0]
    assert first.name == "cpu"
    assert first.description == machine_facts()["cpu"]


def test_threads_and_abilities():
    assert probe.threads().within == torch.get_num_threads()
    abilities = probe.processor_abilities()
    assert set(abilities) == {"vector", "mkl", "onednn", "cuda"}
    assert abilities["vector"]


def test_the_rate_counts_two_operations_a_product(monkeypatch):
    ticks = iter([0.0, 9.0, 9.0, 10.0, 10.0, 12.0, 12.0, 13.0])
    monkeypatch.setattr(probe.time, "perf_counter", lambda: next(ticks))
    # The first product warms up; the others take 1, 2 and 1 seconds.
    assert probe.matrix_product_rate(10, repeats=3) == pytest.approx(2 * 10**3 / 1e9)


def test_a_real_rate_is_positive():
    assert probe.matrix_product_rate(32, repeats=2) > 0


def test_a_probe_multiplies_at_least_once():
    with pytest.raises(MeasurementError, match="multiplies at least once"):
        probe.matrix_product_rate(repeats=0)


def test_readable_energy_counters_are_named(monkeypatch, tmp_path):
    for number, name in enumerate(("package-0", "dram")):
        zone = tmp_path / f"intel-rapl:{number}"
        zone.mkdir()
        (zone / "energy_uj").write_text("17")
        (zone / "name").write_text(name)
    monkeypatch.setattr(probe, "_POWERCAP", tmp_path)
    found = probe.instruments()
    assert found.energy[:2] == ("rapl:package-0", "rapl:dram")
    assert found.energy_reason is None


def test_without_energy_counters_the_reason_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(probe, "_POWERCAP", tmp_path / "missing")
    monkeypatch.setattr(probe, "_nvml_works", lambda: False)
    found = probe.instruments()
    assert found.energy == ()
    assert "no energy counter" in found.energy_reason


def test_what_energy_is_measured_by_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(probe, "energy_meter", lambda device, powercap: FakeMeter([1.0], provenance="estimated"))
    assert probe.instruments().energy_source == "fake (estimated)"
    monkeypatch.setattr(probe, "energy_meter", lambda device, powercap: Unavailable("why"))
    assert probe.instruments().energy_source is None


def test_counters_for_root_alone_are_told_apart(monkeypatch, tmp_path):
    zone = tmp_path / "intel-rapl:0"
    zone.mkdir()
    (zone / "energy_uj").write_text("17")
    monkeypatch.setattr(probe, "_POWERCAP", tmp_path)
    monkeypatch.setattr(probe, "_nvml_works", lambda: False)
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert "only readable by root" in probe.instruments().energy_reason


def test_the_cpu_needs_no_waiting_for():
    assert probe.synchroniser(torch.device("cpu")) is None
    assert callable(probe.synchroniser(torch.device("cuda")))
