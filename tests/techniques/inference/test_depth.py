"""The depth dial on a handle: its range, its company, and what turning it costs."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.core.errors import RheostatError, SettingError
from rheostat.measure.macs import Plan, batch_macs, planned_row
from rheostat.measure.model_cost import cost_of
from rheostat.techniques import Depth, TokenPruning, attach, configure, neutral_configuration, technique_from_json
from rheostat.techniques.contract import Shortening
from rheostat.testing import tiny_model

IDS = torch.arange(3, 27)[None]


def test_the_range_is_that_of_the_model() -> None:
    handle = attach(tiny_model("bert"), "depth")
    assert handle.neutral() == handle.settings == {"depth": 4.0}
    assert [dial.interval for dial in handle.dials] == ["[1, 4], whole"]
    for value in (0, 5, 2.5, float("nan"), float("inf"), True, "3"):
        with pytest.raises(SettingError, match="The dial 'depth'"):
            handle.set(depth=value)
    assert handle.settings == {"depth": 4.0}


def test_two_dials_on_one_handle() -> None:
    handle = attach(tiny_model("llama", AutoModelForCausalLM), "depth", TokenPruning(floor=3))
    assert handle.techniques == (TokenPruning(floor=3), Depth())
    assert handle.technique == TokenPruning(floor=3)
    assert handle.neutral() == {"tokens": 1.0, "depth": 4.0}
    handle.set(depth=2)
    with torch.no_grad():
        handle.model(IDS)
        assert [len(block[0]) for block in handle.survivors()] == [24, 24]
        with handle.at(tokens=0.5):
            handle.model(IDS)
            assert [len(block[0]) for block in handle.survivors()] == [12, 6]


def test_two_that_shorten_are_refused() -> None:
    class Other(Depth.__bases__[0]):  # type: ignore[misc, name-defined]
        name = "other"

        def depth(self, settings: Any) -> int:
            return 1

    assert issubclass(Other, Shortening)
    with pytest.raises(SettingError, match="at most one each that cuts, shortens"):
        attach(tiny_model("bert"), Depth(), Other())


def test_turning_copies_nothing_and_allocates_nothing() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    before = {name: (tensor.data_ptr(), tensor) for name, tensor in model.named_parameters()}
    handle = attach(model, "depth")
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        for depth in (1, 4, 2, 3):
            handle.set(depth=depth)
            with handle.at(depth=1):
                pass
    assert not [event for event in profile.events() if event.name.startswith("aten::")]
    with torch.no_grad(), handle.at(depth=4):
        model(IDS)
    with pytest.raises(RheostatError, match="Survivors are known"):
        handle.survivors()
    after = dict(model.named_parameters())
    assert before.keys() == after.keys()
    assert all(after[name] is tensor and tensor.data_ptr() == at for name, (at, tensor) in before.items())


def test_a_configuration_sets_depth_and_refuses_what_the_model_has_not_before_it_attaches() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    with pytest.raises(SettingError, match=r"'depth' lies in \[1, 4\]"):
        configure(model, {"depth": 5, "tokens": 0.5})
    assert not hasattr(type(model.model), "_rheostat_worn")
    handle = configure(model, {"depth": 3, "tokens": 0.5})
    assert handle.settings == {"tokens": 0.5, "depth": 3.0}
    assert neutral_configuration(["depth", "tokens"]) == {"tokens": 1.0}
    assert neutral_configuration(["depth", "tokens"], 4) == {"depth": 4.0, "tokens": 1.0}


def test_json_round_trips() -> None:
    assert Depth().to_json() == {"name": "depth"}
    assert technique_from_json({"name": "depth"}) == Depth()


def test_counted_work_is_that_of_the_blocks_that_ran() -> None:
    model = tiny_model("bert", AutoModelForSequenceClassification)
    shorter = copy.deepcopy(model)
    del shorter.bert.encoder.layer[3:]
    handle, cost = attach(model, "tokens", "depth"), cost_of(model)
    with torch.no_grad(), handle.at(depth=3):
        model(IDS)
    counted = batch_macs(cost, [24], handle.survivors())
    assert counted == batch_macs(cost_of(shorter), [24], []) == planned_row(cost, 24, Plan(depth=3))
    assert counted.total < batch_macs(cost, [24], []).total
    with torch.no_grad(), handle.at(depth=3, tokens=0.5):
        model(IDS)
    assert (
        batch_macs(cost, [24], handle.survivors()).feed_forward
        == planned_row(cost, 24, Plan(0.5, depth=3)).feed_forward
    )


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_adapters_go_with_depth() -> None:
    peft = pytest.importorskip("peft")
    model = tiny_model("llama", AutoModelForCausalLM)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(model, config).eval()
    shorter = copy.deepcopy(adapted)
    del shorter.base_model.model.model.layers[2:]
    with torch.no_grad():
        expected = shorter(input_ids=IDS).logits
        with attach(adapted, "depth").at(depth=2):
            assert torch.equal(adapted(input_ids=IDS).logits, expected)
