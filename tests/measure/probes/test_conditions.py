import json
import os
import subprocess
import sys
import time

import pytest

from rheostat.core.errors import MeasurementError
from rheostat.measure.probes import conditions as module
from rheostat.measure.probes.conditions import Conditions, ConditionsWatch


def found(**changes):
    values = {
        "seconds": 10.0,
        "processors": 2,
        "load_before": 0.5,
        "load_after": 1.0,
        "clock_before": None,
        "clock_after": None,
        "others": 0.02,
        "stolen": 0.0,
        "threads": {},
    }
    return Conditions(**{**values, **changes})


def stat(user=0, nice=0, system=0, idle=0, iowait=0, irq=0, softirq=0, steal=0, guest=0):
    return f"cpu  {user} {nice} {system} {idle} {iowait} {irq} {softirq} {steal} {guest} 0\ncpu0 1 1 1\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of two processors whose files say what a test writes, and on which 10 s pass."""
    monkeypatch.setattr(module.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(module.os, "sysconf", lambda _: 100)
    clock = iter([0.0, 10.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    own = iter([1.0, 6.0])
    monkeypatch.setattr(module, "_own_time", lambda pids: next(own))
    (tmp_path / "stat").write_text(stat())
    return tmp_path


def watched(folder, after):
    with ConditionsWatch(proc=folder, system=folder / "sys") as watch:
        (folder / "stat").write_text(after)
    return watch.conditions


def test_others_are_all_less_ones_own(machine):
    # 4 + 1 + 3 + 0.5 + 0.5 s of work on 20 s of processors, 5 of them one's own. Idle and waiting are no work, and
    # guests are in the user time already.
    seen = watched(machine, stat(400, 100, 300, 900, 100, 50, 50, guest=400))
    assert seen.others == pytest.approx((9.0 - 5.0) / 20.0)
    assert seen.stolen == 0.0
    assert "other programs used 20% of the processors" in seen.warning


def test_what_the_host_takes_is_told_apart(machine):
    seen = watched(machine, stat(user=500, steal=600))
    assert (seen.others, seen.stolen) == (0.0, 0.3)
    assert seen.warning.startswith("The machine was busy: other virtual machines used 30% of the processors while")


def test_a_share_is_a_share(machine):
    # One's own time is finer than the system's ticks: the difference may fall below 0.
    assert watched(machine, stat(user=490)).others == 0.0


def test_a_quiet_machine_needs_no_warning():
    assert found(others=0.10, stolen=0.10).warning is None
    assert found(others=0.11).warning is not None
    assert "and" in found(others=0.5, stolen=0.5).warning


def test_what_the_system_does_not_tell_is_none(tmp_path):
    with ConditionsWatch(proc=tmp_path, system=tmp_path) as watch:
        pass
    seen = watch.conditions
    assert (seen.others, seen.stolen, seen.clock_before, seen.warning) == (None, None, None, None)


def test_conditions_are_plain_data():
    data = found(others=0.5).to_json()
    assert json.loads(json.dumps(data)) == data
    assert "busy" in data["warning"]


def test_the_clock_is_read_where_there_is_one(tmp_path):
    assert module._clock(tmp_path, tmp_path) is None
    (tmp_path / "cpuinfo").write_text("cpu MHz\t: 2000.000\nmodel name: x\ncpu MHz\t: 3000.000\n")
    assert module._clock(tmp_path, tmp_path) == 2.5e9
    for number, kilohertz in enumerate(("1000000", "2000000")):
        folder = tmp_path / f"devices/system/cpu/cpu{number}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_cur_freq").write_text(kilohertz + "\n")
    assert module._clock(tmp_path, tmp_path) == 1.5e9


def test_thread_settings_are_kept(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with ConditionsWatch() as watch:
        pass
    assert watch.conditions.threads["OMP_NUM_THREADS"] == "1"
    assert watch.conditions.threads["within"] >= 1


def test_the_end_has_to_come_first():
    with ConditionsWatch() as watch, pytest.raises(MeasurementError, match="when what is watched has ended"):
        _ = watch.conditions


def test_ones_own_children_are_not_others():
    burn = "import time\nwhile time.process_time() < 0.3: pass\n"
    before = module._own_time([])
    subprocess.run([sys.executable, "-c", burn], check=True)
    assert module._own_time([]) - before > 0.28


def test_a_measured_process_that_ends_is_counted_once():
    code = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ninput()\n"
    before = module._own_time([])
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        process.stdout.readline()
        alive = module._own_time([process.pid]) - before
        process.communicate("\n")
    ended = module._own_time([process.pid]) - before
    assert 0.28 < alive < 0.6
    assert ended == pytest.approx(alive, abs=0.15)


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' process files")
def test_a_program_beside_is_seen():
    burn = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): pass\n"
    with subprocess.Popen([sys.executable, "-c", burn, str(os.getpid())]) as stranger:
        time.sleep(0.2)
        with ConditionsWatch() as watch:
            time.sleep(0.5)
        with ConditionsWatch(pids=[stranger.pid]) as mine:
            time.sleep(0.5)
        stranger.kill()
    processors = os.cpu_count() or 1
    # It gets what the rest of a busy machine leaves it.
    assert watch.conditions.others > 0.3 / processors
    assert mine.conditions.others < 1.0
