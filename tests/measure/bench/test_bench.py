"""Whole benches of tiny models, each configuration in its own process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification

from rheostat.core.comparison import compare
from rheostat.core.errors import DataError, RheostatError
from rheostat.core.measurement import FILE, Measurement, read_measurements
from rheostat.core.workload import Data, Method, Workload
from rheostat.measure.bench.bench import bench, duel, measure
from rheostat.measure.bench.laboratory import BenchOptions, BenchProgress
from rheostat.measure.bench.plan import configurations
from rheostat.testing import tiny_model
from tests.saved import make_data, make_tokenizer

METHOD = Method(rounds=3, sittings=1, round_seconds=0.02, warmup_requests=2, threads=1, time_limit=120)
WORK = Workload("classify", batch_size=2, requests=1)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("classifier")
    tiny_model("bert", AutoModelForSequenceClassification).save_pretrained(folder)
    make_tokenizer("classification").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def measured(classifier: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Measurement], Path]:
    out = tmp_path_factory.mktemp("out")
    wanted = configurations({}, {"tokens": [1.0, 0.3]})
    return bench([classifier], WORK, wanted, data=Data(make_data()), method=METHOD, options=BenchOptions(out)), out


def test_a_grid_is_measured_beside_the_plain_model(measured: tuple[list[Measurement], Path]) -> None:
    plain, pruned = measured[0]
    assert [one.status for one in (plain, pruned)] == ["ok", "ok"]
    assert plain.metrics["agreement"].value == 1.0
    assert pruned.metrics["macs"].value < plain.metrics["macs"].value  # type: ignore[operator]
    for one in (plain, pruned):
        assert {"accuracy", "latency_p99", "memory_peak_host", "compression_disk", "speedup"} <= set(one.metrics)
        assert one.metrics["memory_peak_host"].value > 50e6  # type: ignore[operator]
        assert len(one.samples["ratio"]) == 3
        assert one.conditions["torch_threads"] == 1
        assert set(one.conditions["baselines"]) == {"majority", "linear"}


def test_a_grid_of_depths_is_measured(classifier: str) -> None:
    wanted = configurations({"tokens": 1.0}, {"depth": [4, 2]})
    whole, half = bench([classifier], WORK, wanted, method=METHOD)[0:2]
    assert [one.configuration["depth"] for one in (whole, half)] == [4.0, 2.0]
    assert [one.conditions["plain"] for one in (whole, half)] == [True, False]
    macs = [one.metrics["macs"].value for one in (whole, half)]
    assert macs[0] > 1.5 * macs[1]  # type: ignore[operator]


def test_what_is_on_file_is_not_measured_again(classifier: str, measured: tuple[list[Measurement], Path]) -> None:
    before = (measured[1] / FILE).read_bytes()
    told: list[BenchProgress] = []
    options = BenchOptions(measured[1], progress=told.append)
    wanted = configurations({}, {"tokens": [1.0, 0.3]})
    again = bench([classifier], WORK, wanted, data=Data(make_data()), method=METHOD, options=options)
    assert [(step.done, step.total) for step in told] == [(2, 2)]
    assert (measured[1] / FILE).read_bytes() == before
    assert [one.key for one in again] == [one.key for one in measured[0]]


def test_failures_are_results_and_the_rest_goes_on(classifier: str, tmp_path: Path) -> None:
    missing = tmp_path / "broken"
    missing.mkdir()
    for file in Path(classifier).iterdir():
        (missing / file.name).write_bytes(file.read_bytes())
    (missing / "tokenizer.json").write_text("{}")
    found = bench([str(missing), classifier], WORK, configurations({"tokens": 1.0}), method=METHOD)
    assert [one.status for one in found] == ["failed", "ok"]
    assert found[0].reason


@pytest.mark.parametrize(
    ("limits", "status"), [({"memory_limit": 60 << 20}, "out-of-memory"), ({"time_limit": 0.2}, "timed-out")]
)
def test_limits(classifier: str, limits: dict[str, float], status: str) -> None:
    method = Method(rounds=3, sittings=1, round_seconds=0.02, threads=1, **limits)  # type: ignore[arg-type]
    found = measure(classifier, WORK, method=method)
    assert found.status == status
    assert found.metrics == {}


def test_a_comparison_has_a_verdict_for_each_metric(classifier: str) -> None:
    method = Method(rounds=8, sittings=2, round_seconds=0.02, warmup_requests=2, threads=1)
    work = Workload("classify", batch_size=4, requests=1, prompt_tokens=100)
    a, b = duel((classifier, {"tokens": 1.0}), (classifier, {"tokens": 0.1}), work, method=method)
    verdicts = {one.metric: one for one in compare(a, b)}
    assert verdicts["macs"].verdict == "better"
    assert verdicts["latency_p50"].paired
    for one in (a, b):
        assert one.conditions["sittings"] == 2
        assert len(one.samples["latency"]) == len(b.samples["ratio"]) == 8
        # Two processes never load in the very same time.
        assert one.metrics["load_time"].low < one.metrics["load_time"].value < one.metrics["load_time"].high
    assert a.metrics["speedup"].value is None


def test_data_for_another_task_is_refused(classifier: str) -> None:
    data = Data(make_data("causal-lm"))
    with pytest.raises(DataError, match="reads data for classification"):
        bench([classifier], WORK, configurations({"tokens": 1.0}), data=data, method=METHOD)


def test_a_folder_that_cannot_be_written_is_found_out_first(classifier: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    started = time.monotonic()
    options, wanted = BenchOptions(tmp_path / "file" / "out"), configurations({"tokens": 1.0})
    with pytest.raises(RheostatError, match="folder that can be written"):
        bench([classifier], WORK, wanted, method=METHOD, options=options)
    assert time.monotonic() - started < 5


PROGRAM = """
import sys
from pathlib import Path
from rheostat.core.workload import Method, Workload
from rheostat.measure.bench.bench import bench
from rheostat.measure.bench.laboratory import BenchOptions
from rheostat.measure.bench.plan import configurations
wanted = configurations({}, {"tokens": [1.0, 0.6, 0.3]})
method = Method(rounds=3, sittings=1, round_seconds=0.02, warmup_requests=2, threads=1)
work = Workload("classify", batch_size=2, requests=1)
bench([sys.argv[1]], work, wanted, method=method, options=BenchOptions(Path(sys.argv[2])))
"""


@pytest.mark.slow
def test_a_killed_bench_goes_on_where_it_was(classifier: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", PROGRAM, classifier, str(tmp_path)]
    file = tmp_path / FILE
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as first:
        while first.poll() is None and not (file.exists() and file.read_text()):
            time.sleep(0.05)
        first.send_signal(signal.SIGKILL)
    done = file.read_text().splitlines()
    assert 1 <= len(done) < 3, "killed too late to show anything"
    subprocess.run(command, env=environment, check=True, capture_output=True)
    lines = file.read_text().splitlines()
    assert lines[: len(done)] == done
    keys = [json.loads(line)["key"] for line in lines]
    assert len(set(keys)) == len(keys) == 3
    assert all(one.status == "ok" for one in read_measurements(tmp_path))
