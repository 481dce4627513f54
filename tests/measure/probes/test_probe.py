import mmap
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from rheostat.core.errors import MeasurementError
from rheostat.measure.probes import probe
from rheostat.measure.probes.probe import DeviceMemory, PeakResidentMemory, ProcessorTime, ResidentMemory

MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' process files")

# Says when it is ready, and does a step for each line it is sent.
CHILD = """
import sys, time
def burn(seconds):
    while time.process_time() < burn.end: pass
steps = {
    "grow": lambda: globals().update(block=bytearray(b"1") * (64 << 20)),
    "shrink": lambda: globals().pop("block"),
    "burn": lambda: [burn.__setattr__("end", time.process_time() + 0.3), burn(0.3)],
}
print("ready", flush=True)
for line in sys.stdin:
    steps[line.strip()]()
    print("done", flush=True)
"""


class Child:
    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.process.stdout.readline()
        self.pid = self.process.pid

    def do(self, step):
        self.process.stdin.write(step + "\n")
        self.process.stdin.flush()
        self.process.stdout.readline()

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


@pytest.fixture
def child():
    made = Child()
    yield made
    made.end()


@linux
def test_resident_memory_of_another_process_rises_and_falls(child):
    resident = ResidentMemory(child.pid)
    before = resident.read()
    child.do("grow")
    grown = resident.read()
    child.do("shrink")
    assert grown - before == pytest.approx(64 * MIB, rel=0.05)
    assert resident.read() - before < 8 * MIB


@linux
def test_peak_memory_stays_and_is_reset(child):
    peak, resident = PeakResidentMemory(child.pid), ResidentMemory(child.pid)
    before = peak.read()
    child.do("grow")
    child.do("shrink")
    assert peak.read() - before > 56 * MIB
    if peak.reset():
        assert peak.read() == pytest.approx(resident.read(), rel=0.1)


@linux
def test_the_peak_is_what_the_system_says_when_the_process_has_ended():
    # As /usr/bin/time does it: a small process starts the work, for the system also counts what a parent holds.
    launcher = (
        "import os, subprocess, sys\n"
        f"process = subprocess.Popen([sys.executable, '-c', {CHILD!r}])\n"
        "print('pid', process.pid, flush=True)\n"
        "print('most', os.wait4(process.pid, 0)[2].ru_maxrss, flush=True)\n"
        "process.returncode = 0\n"
    )
    command = [sys.executable, "-c", launcher]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        said = {process.stdout.readline().strip() for _ in range(2)}
        process.stdin.write("grow\n")
        process.stdin.flush()
        assert process.stdout.readline() == "done\n"
        pid = next(int(line.split()[1]) for line in said if line.startswith("pid"))
        seen = PeakResidentMemory(pid).read()
        most = int(process.communicate()[0].split()[1]) * 1024
    assert seen == pytest.approx(most, rel=0.02)


def test_processor_time_of_another_process(child):
    used = ProcessorTime(child.pid)
    before = used.read()
    child.do("burn")
    assert used.read() - before == pytest.approx(0.3, abs=0.06)


def test_processor_time_is_of_all_threads():
    code = (
        "import hashlib, threading, time\n"
        "work = lambda: [hashlib.sha256(bytes(1 << 20)).digest() for _ in range(60)]\n"
        "threads = [threading.Thread(target=work) for _ in range(2)]\n"
        "[one.start() for one in threads]; [one.join() for one in threads]\n"
        "print(time.process_time(), time.thread_time(), flush=True); input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        whole, main = map(float, process.stdout.readline().split())
        read = ProcessorTime(process.pid).read()
        process.communicate("\n")
    assert read == pytest.approx(whole, abs=0.05)
    assert read - main > 0.02


def test_this_process_by_default():
    assert ResidentMemory().pid == ProcessorTime().pid == os.getpid()
    before = ResidentMemory().read()
    with mmap.mmap(-1, 32 * MIB) as block:
        block.write(b"1" * 32 * MIB)
        assert ResidentMemory().read() - before > 24 * MIB


@pytest.mark.parametrize("kind", [ResidentMemory, PeakResidentMemory, ProcessorTime])
def test_a_process_that_has_ended_is_told(kind):
    made = Child()
    if kind is PeakResidentMemory and sys.platform != "linux":
        pytest.skip("Linux only")
    reader = kind(made.pid)
    made.end()
    with pytest.raises(MeasurementError, match=f"while it runs. Given: process {made.pid}, which has ended"):
        reader.read()
    with pytest.raises(MeasurementError, match="which has ended"):
        kind(made.pid)


@linux
def test_a_process_that_nobody_waited_for_has_no_peak(child):
    reader = PeakResidentMemory(child.pid)
    child.process.stdin.close()
    for _ in range(200):
        if "Z" in (reader._folder / "stat").read_text().rpartition(")")[2].split()[0]:
            break
        time.sleep(0.01)
    with pytest.raises(MeasurementError, match="which has ended"):
        reader.read()


def test_without_process_files_psutil_is_asked(tmp_path):
    psutil = pytest.importorskip("psutil")
    reader = ResidentMemory(proc=tmp_path)
    assert reader.source == "psutil"
    assert reader.read() == pytest.approx(psutil.Process().memory_info().rss, rel=0.05)
    with pytest.raises(MeasurementError, match="Sample resident memory instead"):
        PeakResidentMemory(proc=tmp_path)


def test_without_a_process_clock_psutil_is_asked(monkeypatch):
    pytest.importorskip("psutil")
    monkeypatch.setattr(probe, "_processor_clock", lambda pid: None)
    reader = ProcessorTime()
    assert reader.source == "psutil"
    assert reader.read() == pytest.approx(time.process_time(), abs=0.2)
    monkeypatch.undo()
    assert ProcessorTime().source == "process clock"


def test_psutils_words_become_ours(tmp_path):
    pytest.importorskip("psutil")
    made = Child()
    reader = ResidentMemory(made.pid, proc=tmp_path)
    made.end()
    with pytest.raises(MeasurementError, match="which has ended"):
        reader.read()


class FakeNvml:
    """Two GPUs with processes on them."""

    class NVMLError(Exception):
        pass

    def __init__(self, *used):
        self.used = used

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(self.used)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        if self.used[handle] is self.NVMLError:
            raise self.NVMLError("Not Supported")
        return [SimpleNamespace(pid=pid, usedGpuMemory=memory) for pid, memory in self.used[handle].items()]


def test_device_memory_is_that_of_the_process_on_all_gpus():
    nvml = FakeNvml({1: 100, 7: 30}, {7: 12, 2: 5})
    assert DeviceMemory(7, library=nvml).read() == 42.0
    assert DeviceMemory(1, library=nvml).read() == 100.0


@pytest.mark.parametrize(
    ("used", "words"),
    [
        ({1: 100}, "by its own numbers. Given: process 7"),
        ({7: None}, "single process holds"),
        (FakeNvml.NVMLError, "Not Supported"),
    ],
)
def test_device_memory_that_is_not_told_is_not_zero(used, words):
    with pytest.raises(MeasurementError, match=words):
        DeviceMemory(7, library=FakeNvml(used)).read()
