from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import Result

from rheostat.cli import heavy
from rheostat.measure.probes import Device, Instruments, Threads

HARDWARE = {
    "machine": {"cpu": "Test CPU", "memory_bytes": 2**33, "threads": {}, "device": "cpu"},
    "devices": (Device("cpu", "Test CPU", 2**33), Device("mps", "Apple GPU", None)),
    "threads": Threads(2, 1),
    "processor": {"vector": "AVX2", "mkl": True, "onednn": True, "cuda": False},
    "instruments": Instruments("wall clock", (), "no counter here", False),
    "matrix_products_gflops": 61.7,
}


@pytest.fixture(autouse=True)
def hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heavy, "hardware", lambda: HARDWARE)


def test_the_machine_and_the_libraries_are_given(run_json: Callable[..., Any]) -> None:
    data = run_json("doctor")

    assert data["devices"][1] == {"name": "mps", "description": "Apple GPU", "memory_bytes": None}
    assert data["threads"] == {"within": 2, "between": 1}
    assert data["libraries"]["torch"]
    assert data["instruments"]["energy_reason"] == "no counter here"


def test_people_see_what_can_be_measured(run: Callable[..., Result]) -> None:
    shown = run("doctor").stdout

    assert "8.0 GiB" in shown
    assert "62 GFLOP/s" in shown
    assert "no: no counter here" in shown


def test_an_estimate_of_energy_is_called_one(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = Instruments("wall clock", (), "no counter here", False, "CodeCarbon (estimated)")
    monkeypatch.setattr(heavy, "hardware", lambda: {**HARDWARE, "instruments": estimate})
    shown = run("doctor").stdout

    assert "CodeCarbon (estimated)" in shown
    assert "no counter here" not in shown
