import json

import pytest
import torch

from rheostat.core.errors import MeasurementError
from rheostat.measure.probes import peak as module
from rheostat.measure.probes.peak import SIZES, Peak, machine_peak


@pytest.fixture
def rates(monkeypatch):
    """Rates by size in 10^9 a second, on a quiet machine; and what was asked for."""
    asked = []

    def rate(size, *, repeats, device, dtype):
        asked.append((size, str(device), dtype))
        return {16: 2.0, 32: 5.0, 64: 4.0}[size]

    monkeypatch.setattr(module, "matrix_product_rate", rate)
    monkeypatch.setattr(module, "ConditionsWatch", lambda: Watch(None))
    return asked


class Watch:
    def __init__(self, warning):
        self.conditions = self
        self.warning = warning

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def find(folder, **options):
    return machine_peak(**{"sizes": (16, 32, 64), "cache_dir": folder, **options})


def test_the_best_size_counts(rates, tmp_path):
    found = find(tmp_path)
    assert (found.flops, found.size, found.dtype, found.device) == (5e9, 32, "float32", "cpu")
    assert found.rates == {16: 2e9, 32: 5e9, 64: 4e9}
    assert found.threads == torch.get_num_threads()


def test_it_is_measured_once_and_again_when_asked(rates, tmp_path):
    first = find(tmp_path)
    assert find(tmp_path) == first
    assert len(rates) == 3
    find(tmp_path, fresh=True)
    assert len(rates) == 6


def test_dtypes_threads_and_sizes_have_peaks_of_their_own(rates, tmp_path, monkeypatch):
    find(tmp_path)
    find(tmp_path, dtype=torch.bfloat16)
    assert len(rates) == 6
    find(tmp_path, sizes=(16,))
    assert len(rates) == 7
    facts = module.machine("cpu")
    monkeypatch.setattr(module, "machine", lambda device: {**facts, "torch_threads": 99})
    find(tmp_path)
    assert len(rates) == 10
    assert len(list((tmp_path / "peaks").iterdir())) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 99}', '{"version": 1, "flops": 1.0}'])
def test_a_damaged_file_is_measured_anew(rates, tmp_path, content):
    first = find(tmp_path)
    (file,) = (tmp_path / "peaks").iterdir()
    file.write_text(content)
    assert find(tmp_path) == first
    assert len(rates) == 6
    assert Peak.from_json(json.loads(file.read_text())) == first


def test_the_peak_of_a_busy_machine_is_told_and_not_kept(rates, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ConditionsWatch", lambda: Watch("busy"))
    assert find(tmp_path).warning == "busy"
    assert not (tmp_path / "peaks").exists()


def test_a_real_peak(tmp_path):
    found = machine_peak(sizes=(64, 128), cache_dir=tmp_path)
    assert found.flops == max(found.rates.values()) > 1e6


def test_what_cannot_be_multiplied_has_no_peak(tmp_path):
    with pytest.raises(MeasurementError, match="needs a matrix product. Given: torch.bool on cpu"):
        machine_peak(dtype=torch.bool, sizes=(16,), cache_dir=tmp_path)
    with pytest.raises(MeasurementError, match="one size at least"):
        machine_peak(sizes=(), cache_dir=tmp_path)
    with pytest.raises(MeasurementError, match="multiplies at least once"):
        machine_peak(sizes=(0,), cache_dir=tmp_path)


def test_every_device_has_sizes():
    assert set(SIZES) == {"cpu", "cuda", "mps"}
