import json
import os
import subprocess
import sys

from rheostat.core import machine
from rheostat.core.machine import machine_facts, machine_text


def test_facts_are_plain_data_about_this_process():
    facts = machine_facts()
    assert json.loads(json.dumps(facts)) == facts
    assert 1 <= facts["cores"] <= (os.cpu_count() or 1)
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert all(facts[name] for name in ("torch", "transformers", "cpu", "architecture"))


def test_facts_do_not_import_torch():
    code = (
        "import sys; from rheostat.core.machine import machine_facts; import rheostat.core.profile;"
        " machine_facts(); assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": "src"})


def test_thread_variables_are_those_that_are_set(monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TORCH_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert machine_facts()["threads"] == {"OMP_NUM_THREADS": "3"}


def test_a_container_limit_counts(monkeypatch, tmp_path):
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("1000000\n")
    monkeypatch.setattr(machine, "_CONTROL_GROUP", tmp_path)
    facts = machine_facts()
    assert (facts["cores"], facts["memory_bytes"]) == (1, 1_000_000)


def test_no_container_limit_changes_nothing(monkeypatch, tmp_path):
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    monkeypatch.setattr(machine, "_CONTROL_GROUP", tmp_path / "missing")
    without = machine_facts()
    monkeypatch.setattr(machine, "_CONTROL_GROUP", tmp_path)
    assert machine_facts() == without


def test_a_package_that_is_not_installed_has_no_version():
    assert machine._version("rheostat-has-no-such-package") is None


def test_text_names_what_is_known():
    assert machine_text({"cpu": "A", "cores": 1}) == "A, 1 core"
    assert machine_text({"device_name": "NVIDIA X", "cpu": "A", "cores": 8, "torch": "2"}) == (
        "NVIDIA X, A, 8 cores, torch 2"
    )
    assert machine_text({}) == "an unknown machine"
