"""Studies: nothing that was finished is lost, nothing is measured twice, whoever is killed and when."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rheostat.core.errors import RheostatError, StudyError
from rheostat.core.measurement import Measurement
from rheostat.core.metrics import Metric
from rheostat.search.database import FILE, VERSION
from rheostat.search.evaluator import Request, fidelity_of
from rheostat.search.ownership import Owner
from rheostat.search.study import Study

MANY = 60

WORKER = f"""
import sys, time
from rheostat.core.measurement import Measurement
from rheostat.search.evaluator import Request
from rheostat.search.study import Study

with Study.open(sys.argv[1], "digest") as study:
    study.add([Request({{"tokens": at / {MANY}}}) for at in range({MANY})], "random")
    while claims := study.claim(3):
        for claim in claims:
            print("began", claim.number, flush=True)
            time.sleep(0.004)
            done = Measurement({{}}, dict(claim.request.configuration), {{}}, {{}}, "ok")
            if study.finish(claim.number, done, 0.004):
                print("done", claim.number, flush=True)
            study.note("latest", claim.number)
"""


def measured(value: float = 0.5) -> Measurement:
    return Measurement({}, {"tokens": value}, {"fidelity": 0.5}, {}, "ok", {"accuracy": Metric(0.9, "1")})


def requests(*values: float) -> list[Request]:
    return [Request({"tokens": value}) for value in values]


def test_trials_go_from_waiting_to_done(tmp_path: Path) -> None:
    with Study.open(tmp_path / "study", "digest", {"seed": 1}) as study:
        assert study.add(requests(0.5, 1.0), "random") == [0, 1]
        assert study.counts() == {"PENDING": 2, "RUNNING": 0, "DONE": 0}
        (claim,) = study.claim(1)
        assert (claim.number, claim.request, claim.strategy) == (0, Request({"tokens": 0.5}), "random")
        assert study.state_of(Request({"tokens": 0.5})) == "RUNNING"
        assert study.finish(0, measured(), 2.5)
        assert [one.number for one in study.claim(numbers=[0, 1])] == [1]
    with Study(tmp_path / "study") as again:
        (trial,) = again.trials()
        assert (trial.number, trial.seconds, trial.strategy, trial.fidelity) == (0, 2.5, "random", 1.0)
        assert trial.measurement == measured()
        assert (again.digest, again.scenario) == ("digest", {"seed": 1})


def test_nothing_is_there_twice(tmp_path: Path) -> None:
    with Study.open(tmp_path, "digest") as study:
        assert study.add(requests(1.0, 0.5)) == [0, 1]
        # The order of names does not matter, and 1 is 1.0; another fidelity, or a repeat, is another trial.
        assert study.add([Request({"tokens": 1}), Request({"tokens": 0.5}, 0.25)]) == [0, 2]
        assert study.add(requests(0.5), repeat=1) == [3]
        study.claim()
        assert study.finish(0, measured(), 1.0)
        assert not study.finish(0, measured(0.7), 9.0)
        assert study.trials()[0].measurement == measured()
        assert study.claim() == []


def test_what_this_process_left_behind_waits_again(tmp_path: Path) -> None:
    with Study.open(tmp_path, "digest") as study:
        study.add(requests(0.1, 0.2))
        study.claim(1)
        assert study.requeue() == 0
    with Study.open(tmp_path, "digest") as study:
        assert study.counts() == {"PENDING": 2, "RUNNING": 0, "DONE": 0}


def test_what_was_never_begun_can_be_taken_out(tmp_path: Path) -> None:
    with Study.open(tmp_path, "digest") as study:
        study.add(requests(0.1, 0.2))
        study.claim(1)
        study.forget([0, 1])
        assert study.counts() == {"PENDING": 0, "RUNNING": 1, "DONE": 0}
        study.release([0])
        assert study.counts() == {"PENDING": 1, "RUNNING": 0, "DONE": 0}


def test_notes(tmp_path: Path) -> None:
    with Study.open(tmp_path, "digest") as study:
        assert study.noted("state", 7) == 7
        study.note("state", {"a": [1, 2]})
        study.note("state", {"a": [1, 2, 3]})
        assert study.noted("state") == {"a": [1, 2, 3]}


def test_another_scenario_is_refused(tmp_path: Path) -> None:
    Study.open(tmp_path, "one", {"seed": 0, "budget": 60}).close()
    with pytest.raises(StudyError, match=r"one scenario.*seed differ.*Choose another folder"):
        Study.open(tmp_path, "other", {"seed": 1, "budget": 60})
    Study.open(tmp_path, "one").close()


def test_a_second_optimiser_is_refused_and_workers_are_not(tmp_path: Path) -> None:
    with Study.open(tmp_path, "digest"):
        with pytest.raises(StudyError, match=rf"one optimiser.*process {os.getpid()} has had since 20.*very process"):
            Study.open(tmp_path, "digest")
        with Study(tmp_path) as worker:
            assert worker.add(requests(0.5)) == [0]
    Study.open(tmp_path, "digest").close()


def test_the_optimiser_of_another_process_is_named(tmp_path: Path) -> None:
    code = f"import time; from rheostat.search.study import Study; s = Study.open({str(tmp_path)!r}, 'digest')"
    with subprocess.Popen([sys.executable, "-c", f"{code}; print('open', flush=True); time.sleep(60)"],
                          stdout=subprocess.PIPE, env=surroundings()) as other:  # fmt: skip
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(StudyError, match=rf"process {other.pid} has had since .* kill {other.pid}"):
            Study.open(tmp_path, "digest", take_over=True)
        other.kill()
        # Not waited for yet: a process that has ended is dead all the same.
        time.sleep(0.2)
        Study.open(tmp_path, "digest").close()


def test_an_optimiser_of_another_machine_has_to_be_taken_over(tmp_path: Path) -> None:
    Study.open(tmp_path, "digest").close()
    lock = {"owner": Owner(1, "elsewhere", "").to_text(), "since": 0.0}
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("INSERT INTO facts VALUES ('optimiser', ?)", (json.dumps(lock),))
    database.close()
    with pytest.raises(StudyError, match="on elsewhere .* take the study over"):
        Study.open(tmp_path, "digest")
    Study.open(tmp_path, "digest", take_over=True).close()


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be looked at" * 20, None])
def test_a_damaged_file_is_told(tmp_path: Path, content: bytes | None) -> None:
    with Study.open(tmp_path, "digest") as study:
        study.add(requests(*(at / 900 for at in range(900))))
    file = tmp_path / FILE
    if content is None:
        # Pages in the middle are lost, as on a failing disk.
        whole = file.read_bytes()
        content = whole[:8192] + b"\xff" * 8192 + whole[16384:]
    file.write_bytes(content)
    with pytest.raises(StudyError, match=r"complete and rheostat's own.*Restore it from a copy"):
        Study(tmp_path)


def test_newer_foreign_and_missing_files_are_told(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"A study is a folder with a study\.sqlite"):
        Study(tmp_path)
    Study.open(tmp_path / "newer", "digest").close()
    for folder, pragma in (("newer", f"user_version = {VERSION + 1}"), ("foreign", "user_version = 1")):
        (tmp_path / folder).mkdir(exist_ok=True)
        with sqlite3.connect(tmp_path / folder / FILE) as database:
            database.execute(f"PRAGMA {pragma}")
            database.execute("CREATE TABLE IF NOT EXISTS other (a)")
        database.close()
    with pytest.raises(StudyError, match="up to version 1.*Update rheostat"):
        Study.open(tmp_path / "newer", "digest")
    with pytest.raises(StudyError, match="another program"):
        Study.open(tmp_path / "foreign", "digest")
    (tmp_path / "file").write_text("x")
    with pytest.raises(RheostatError, match="folder that can be written"):
        Study.open(tmp_path / "file" / "study", "digest")


def test_a_trial_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with Study.open(tmp_path, "digest") as study:
        study.add(requests(0.5))
        study.finish(0, measured())
        with sqlite3.connect(tmp_path / FILE) as database:
            database.execute("UPDATE trials SET measurement = '{}'")
        database.close()
        with pytest.raises(StudyError, match="a trial that cannot be read"):
            study.trials()


def test_threads_share_a_study(tmp_path: Path) -> None:
    with Study.open(tmp_path, "digest") as study:
        study.add(requests(*(at / 40 for at in range(40))))
        taken: list[int] = []

        def work() -> None:
            while claims := study.claim(1):
                taken.append(claims[0].number)
                study.finish(claims[0].number, measured())

        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert sorted(taken) == list(range(40))


def surroundings() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_killed_at_ten_random_moments(tmp_path: Path) -> None:
    generator, finished, begun = random.Random(0), [], []
    for _ in range(10):
        with subprocess.Popen(
            [sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=surroundings()
        ) as worker:
            assert worker.stdout is not None
            told = [worker.stdout.readline()]
            time.sleep(generator.uniform(0.0, 0.05))
            worker.send_signal(signal.SIGKILL)
            told += worker.stdout.readlines()
        # A kill may cut off the last line.
        whole = [line.split() for line in told if line.endswith("\n")]
        begun += [int(number) for what, number in whole if what == "began"]
        finished += [int(number) for what, number in whole if what == "done"]
        with Study(tmp_path) as study:
            kept = [trial.number for trial in study.trials()]
            assert set(finished) <= set(kept)
            assert study.counts()["RUNNING"] <= 3
    # It was really killed in the middle of things, and what was finished was not begun again.
    assert 0 < len(finished) < MANY
    assert len(finished) == len(set(finished))
    assert len(begun) > len(set(begun)) or len(begun) > len(finished)
    subprocess.run([sys.executable, "-c", WORKER, str(tmp_path)], check=True, env=surroundings(), capture_output=True)
    with Study(tmp_path) as study:
        assert [trial.number for trial in study.trials()] == list(range(MANY))
        assert study.counts() == {"PENDING": 0, "RUNNING": 0, "DONE": MANY}


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "claim", "finish", "requeue"]), st.integers(0, 5)), max_size=20))
def test_any_order_of_events(tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int]]) -> None:
    done: dict[int, float] = {}
    with Study.open(tmp_path_factory.mktemp("study"), "digest") as study:
        for at, (event, number) in enumerate(events):
            if event == "add":
                study.add(requests(number / 10))
            elif event == "claim":
                assert not {claim.number for claim in study.claim(number)} & set(done)
            elif event == "requeue":
                # This process is alive: its trials stay its own.
                assert study.requeue() == 0
            elif number < sum(study.counts().values()) and study.finish(number, measured(at / 100), at):
                assert number not in done
                done[number] = at / 100
        found = {trial.number: trial.measurement.configuration["tokens"] for trial in study.trials()}
        assert found == done


@pytest.mark.parametrize("fidelity", [0.0, -1, 1.1, True])
def test_a_fidelity_is_a_share(fidelity: float) -> None:
    with pytest.raises(RheostatError, match="above 0 and at most 1"):
        Request({}, fidelity)
    assert fidelity_of(measured()) == 0.5
