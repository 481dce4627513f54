"""Trainings and measurements with real processes and tiny models."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from rheostat.bundle import load
from rheostat.core.workload import Workload
from rheostat.measure.bench.session import Texts
from rheostat.search.evaluator import Request
from rheostat.search.local import LocalOptions, local_evaluator
from rheostat.search.sitting import Setting, SettingMethod, Sitting
from rheostat.search.trainings import TrainingOptions
from tests.saved import make_data, save_tiny

pytestmark = pytest.mark.slow

METHOD = SettingMethod(rounds=3, rows=4, round_seconds=0.01)


def test_a_model_is_trained_once_and_turned_many_times(tmp_path: Path) -> None:
    source, data = save_tiny(tmp_path / "model"), make_data()
    options = LocalOptions(Workload("classify", batch_size=4), METHOD, threads=1)
    training = TrainingOptions({"epochs": 2, "learning_rate": 1e-3})
    requests = [
        Request({"recipe": "plain", "precision": precision, "tokens": tokens, "depth": 2, "batch": batch})
        for precision in ("fp32", "bf16")
        for tokens in (1.0, 0.3)
        for batch in (1, 4)
    ]
    with local_evaluator(str(source), data, tmp_path, training, options) as ours:
        found = list(ours.evaluate(requests))
        assert [one.reason for one in found if one.status != "ok"] == []
        assert sum(one.conditions["training_seconds"] > 0 for one in found) == 1
        assert {one.model["sha256"] for one in found} == {found[0].model["sha256"]}
        bundle = ours.bundle({"recipe": "plain"})
        assert load(bundle).label_names == ("a", "b")
        half = next(ours.evaluate([Request(requests[0].configuration, 0.5)]))
        assert len(half.samples["right"]) == 4
        assert half.model["sha256"] != found[0].model["sha256"]
    for name in ("accuracy", "latency_p50", "throughput_samples", "memory_peak_running", "speedup"):
        assert all(one.metrics[name].value is not None for one in found), name
    # The plain model at the reference's own setting: about as fast as itself, however busy the machine is.
    assert 0.1 < (found[1].metrics["speedup"].value or 0.0) < 10


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_a_peak_is_that_of_the_setting(tmp_path: Path) -> None:
    source = save_tiny(tmp_path)
    work = Workload("classify", prompt_tokens=128)
    sitting = Sitting(str(source), {"tokens": 1.0}, work, Texts(classes=2), replace(METHOD, rows=1))
    try:
        large, small = (sitting.prepare("setting", Setting({}, batch, 1)) for batch in (900, 1))
    finally:
        sitting.close()
    used = large["peak"] - large["resident"]
    assert used > 30 << 20
    # What the large one left to the allocator, which keeps what is below 32 MiB, does not count.
    assert small["peak"] < large["peak"] - 0.8 * used


def test_a_language_model_as_it_is(tmp_path: Path) -> None:
    source, data = save_tiny(tmp_path / "model", "causal-lm"), make_data("causal-lm", words=90)
    work = Workload("generate", prompt_tokens=20, new_tokens=4, quality_rows=2)
    with local_evaluator(str(source), data, tmp_path, options=LocalOptions(work, METHOD, threads=1)) as ours:
        requests = [Request({"cache": "int8", "tokens": tokens}) for tokens in (1.0, 0.5)]
        plain, pruned = ours.evaluate(requests)
        assert plain.reason + pruned.reason == ""
        assert plain.metrics["perplexity"].value != pruned.metrics["perplexity"].value
        assert plain.metrics["tpot_p50"].value is not None
        assert load(ours.bundle({})).task == "causal-lm"
