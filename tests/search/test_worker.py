"""The worker's orders, done in this process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from rheostat.core.workload import Workload
from rheostat.measure.bench.worker import obeyed
from rheostat.search.worker import SettingBench
from rheostat.testing import tiny_model
from tests.saved import make_data, make_tokenizer, save_tiny


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    tiny_model("bert", AutoModelForSequenceClassification).save_pretrained(folder)
    make_tokenizer("classification").save_pretrained(folder)
    return folder


@pytest.fixture
def threads() -> Any:
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def rows(folder: Path, task: str = "classification") -> Path:
    file = folder / "rows.json"
    file.write_text(json.dumps(asdict(make_data(task, words=12 if task == "classification" else 90).splits["train"])))
    return file


def loaded(source: Path, workload: Workload, timed: Path, **knobs: Any) -> SettingBench:
    bench = SettingBench()
    order = {"source": str(source), "configuration": knobs, "workload": workload.to_json(), "device": "cpu"}
    told = bench.load({**order, "classes": 2, "timed": str(timed)})
    assert told["weights"] >= 4 * told["parameters"]
    return bench


def prepared(bench: SettingBench, name: str, **setting: Any) -> dict[str, Any]:
    return bench.prepare({"name": name, "dials": {}, "batch": 4, "threads": None, "requests": 2, **setting})


def test_settings_take_turns_in_one_process(classifier: Path, tmp_path: Path, threads: int) -> None:
    bench = loaded(classifier, Workload("classify"), rows(tmp_path), tokens=1.0, depth=4)
    handle = bench.subject.handle
    plain = prepared(bench, "plain")
    small = prepared(bench, "small", dials={"tokens": 0.5, "depth": 2}, batch=2, requests=4, threads=threads + 1)
    assert (plain["rows"], small["rows"]) == ([4, 4], [2, 2, 2, 2])
    # The same rows, in other batches.
    assert sum(plain["tokens"]) == sum(small["tokens"])
    assert sum(small["macs"]) < 0.6 * sum(plain["macs"])
    assert small["threads"] == threads + 1
    reply = bench.turn({"name": "small", "short": False, "passes": 3})
    assert [len(requests) for requests in reply["passes"]] == [4, 4, 4]
    assert handle.settings == {"tokens": 0.5, "depth": 2.0}
    assert torch.get_num_threads() == threads + 1
    assert len(bench.turn({"name": "plain", "short": True, "passes": 1})["passes"][0]) == 1
    assert handle.settings == handle.neutral()
    assert torch.get_num_threads() == threads
    assert reply["touched"][0] == 1
    assert reply["processor"] > 0


def test_answers_are_those_of_the_dials(classifier: Path, tmp_path: Path) -> None:
    file = rows(tmp_path)
    bench = loaded(classifier, Workload("classify"), file, tokens=1.0)
    prepared(bench, "small", dials={"tokens": 0.1})
    told = {
        tokens: bench.judge({"dials": {"tokens": tokens}, "rows": str(file), "count": None, "batch": 8})["answers"]
        for tokens in (0.1, 1.0)
    }
    assert [len(answers["guesses"]) for answers in told.values()] == [24, 24]
    assert told[0.1]["confidences"] != told[1.0]["confidences"]
    again = bench.judge({"dials": {}, "rows": str(file), "count": None, "batch": 3})["answers"]
    assert again["confidences"] == pytest.approx(told[1.0]["confidences"], abs=1e-5)


def test_language_models(tmp_path: Path) -> None:
    source, file = save_tiny(tmp_path / "writer", "causal-lm"), rows(tmp_path, "causal-lm")
    bench = loaded(source, Workload("generate", prompt_tokens=20, new_tokens=4), file, tokens=1.0, cache="int8")
    told = prepared(bench, "setting", dials={"tokens": 0.5}, batch=1, requests=2)
    assert told["cache"] > 0
    assert {"latency", "ttft", "tpot"} == set(
        bench.turn({"name": "setting", "short": False, "passes": 1})["passes"][0][0]
    )
    answers = bench.judge({"dials": {"tokens": 0.5}, "rows": str(file), "count": 3, "batch": 2})["answers"]
    assert len(answers["losses"]) == 3


def test_what_is_not_loaded_is_not_turned() -> None:
    told = obeyed(SettingBench().judge, {"dials": {}})
    assert told["error"]["status"] == "failed"


@pytest.mark.slow
def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    parent = (
        "import subprocess, sys, time\n"
        "worker = subprocess.Popen([sys.executable, '-m', 'rheostat.search.worker'], stdin=subprocess.PIPE)\n"
        "print(worker.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True, env=paths) as one:
        assert one.stdout is not None
        worker = int(one.stdout.readline())
        time.sleep(1.0)
        one.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{worker}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()
