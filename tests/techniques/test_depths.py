"""Several depths from one pass are what separate forwards give, gradients included."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, DynamicCache

from rheostat.core.errors import SettingError
from rheostat.models.families import Family, families, locate
from rheostat.techniques import Precision, attach
from rheostat.techniques.depths import outputs_at_depths
from rheostat.testing import tiny_model

DEPTHS = [4, 1, 3, 3]
IDS = torch.randint(3, 97, (2, 20), generator=torch.Generator().manual_seed(5))
MASK = torch.ones_like(IDS)
MASK[1, 13:] = 0


def label(family: Family) -> str:
    return family.model_type


def classifier(model_type: str = "bert") -> Any:
    return tiny_model(model_type, AutoModelForSequenceClassification).double()


def gradients(model: Any) -> dict[str, torch.Tensor]:
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("tokens", [1.0, 0.6])
@pytest.mark.parametrize("family", families(), ids=label)
def test_outputs_and_gradients_equal_those_of_separate_forwards(family: Family, tokens: float) -> None:
    model, inputs = classifier(family.model_type), {"input_ids": IDS, "attention_mask": MASK}
    inputs["labels"] = torch.tensor([0, 1])
    handle = attach(model, "tokens", "depth")
    handle.set(tokens=tokens)
    expected = {}
    for depth in (1, 3, 4):
        with handle.at(depth=depth):
            expected[depth] = model(**inputs)
            (expected[depth].loss / 3).backward()
    separate = gradients(model)
    found = outputs_at_depths(handle, DEPTHS, **inputs)
    (sum(output.loss for output in found.values()) / 3).backward()
    together = gradients(model)
    assert list(found) == [1, 3, 4]
    for depth, output in found.items():
        torch.testing.assert_close(output.logits, expected[depth].logits, rtol=0, atol=0 if tokens == 1.0 else 1e-9)
    assert together.keys() == separate.keys()
    for name, gradient in separate.items():
        torch.testing.assert_close(together[name], gradient, rtol=5e-4, atol=1e-5)


def test_every_block_runs_once() -> None:
    model = classifier()
    handle, ran = attach(model, "depth"), []
    for index, block in enumerate(locate(model).blocks):
        block.register_forward_hook(lambda module, args, output, index=index: ran.append(index))
    outputs_at_depths(handle, DEPTHS, input_ids=IDS)
    assert ran == [0, 1, 2, 3]


def test_logits_of_a_language_model_under_checkpointing() -> None:
    found = []
    for checkpointing in (False, True):
        model = tiny_model("llama", AutoModelForCausalLM).double().train()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        handle = attach(model, "tokens")
        outputs = outputs_at_depths(handle, [2, 4], input_ids=IDS, labels=IDS)
        sum(output.loss for output in outputs.values()).backward()
        assert outputs[4].past_key_values is None
        found.append(gradients(model))
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient)


def test_a_setting_of_the_dial_is_overruled_and_left_as_it_was() -> None:
    model = classifier()
    handle = attach(model, "depth")
    handle.set(depth=1)
    with torch.no_grad():
        outputs = outputs_at_depths(handle, [2, 4], input_ids=IDS)
        assert handle.settings == {"depth": 1.0}
        handle.set(depth=4)
        assert torch.equal(model(IDS).logits, outputs[4].logits)


@pytest.mark.parametrize(
    ("depths", "text"),
    [
        ([], "one or more"),
        ([2.0], "whole numbers"),
        ([True], "whole numbers"),
        ([0, 2], r"\[1, 4\]"),
        ([5], r"\[1, 4\]"),
    ],
)
def test_unfit_depths_are_refused(depths: Any, text: str) -> None:
    with pytest.raises(SettingError, match=text):
        outputs_at_depths(attach(classifier(), "depth"), depths, input_ids=IDS)


def test_a_cache_is_refused() -> None:
    handle = attach(tiny_model("llama", AutoModelForCausalLM), "depth")
    for asked in ({"use_cache": True}, {"past_key_values": DynamicCache()}):
        with pytest.raises(SettingError, match="fills no cache"):
            outputs_at_depths(handle, [1], input_ids=IDS, **asked)


def test_a_handle_without_a_dial_is_refused() -> None:
    handle = attach(classifier(), Precision("fp32"))
    with pytest.raises(SettingError, match="a handle with a dial"):
        outputs_at_depths(handle, [1], input_ids=IDS)
