"""PEFT's adapters work around a model that wears rheostat, and rheostat on a model that carries adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.core.errors import SettingError
from rheostat.techniques import Handle, attach
from rheostat.testing import tiny_model
from tests.integration.batches import batch, kept, logits, texts

pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Position ids are not supported:UserWarning"),
]
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 4, "eos_token_id": None, "pad_token_id": 0}
ORDERS = ["attached before", "attached after"]


def adapted(order: str, task: str, head: Any, model_type: str = "llama") -> tuple[Any, Any, Handle]:
    model = tiny_model(model_type, head, num_hidden_layers=2)
    handle = attach(model, "tokens") if order == "attached before" else None
    target = ["query"] if model_type == "bert" else ["q_proj", "v_proj"]
    config = LoraConfig(task_type=task, target_modules=target, r=2, init_lora_weights=False)
    torch.manual_seed(0)
    with_adapters = get_peft_model(model, config).eval()
    return model, with_adapters, handle or attach(with_adapters, "tokens")


@pytest.mark.parametrize("order", ORDERS)
def test_only_adapters_learn(order: str) -> None:
    _, model, handle = adapted(order, "SEQ_CLS", AutoModelForSequenceClassification)
    handle.set(tokens=0.5)
    model.train()
    model(**batch(), labels=torch.tensor([0, 1, 0])).loss.backward()
    learning = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert all("lora_" in name or "modules_to_save" in name for name in learning)
    assert len(learning) == 2 * 2 * 2 + 1
    assert kept(handle) == [11, 6]


@pytest.mark.parametrize("order", ORDERS)
def test_generation_through_adapters(order: str) -> None:
    _, model, handle = adapted(order, "CAUSAL_LM", AutoModelForCausalLM)
    inputs = batch("left")
    with torch.no_grad(), handle.at(tokens=0.6):
        together = model.generate(**inputs, **GREEDY)
        for row, text in enumerate(texts(inputs)):
            assert torch.equal(together[row, -4:], model.generate(input_ids=text, **GREEDY)[0, -4:])
        with pytest.raises(SettingError, match="look-up"):
            model.generate(**inputs, **GREEDY, prompt_lookup_num_tokens=2)


@pytest.mark.parametrize("order", ORDERS)
def test_adapters_merge_while_attached(order: str) -> None:
    _, model, handle = adapted(order, "CAUSAL_LM", AutoModelForCausalLM)
    with handle.at(tokens=0.5):
        before = logits(model, batch())
        merged = model.merge_and_unload()
        torch.testing.assert_close(logits(merged, batch()), before, atol=1e-4, rtol=1e-4)
        assert kept(handle) == [11, 6]
    handle.detach()
    assert type(merged) is type(tiny_model("llama", AutoModelForCausalLM))
    assert not any(hasattr(type(module), "_rheostat_worn") for module in merged.modules())


@pytest.mark.parametrize("order", ORDERS)
def test_adapters_are_saved_and_loaded(order: str, tmp_path: Path) -> None:
    _, model, handle = adapted(order, "SEQ_CLS", AutoModelForSequenceClassification, "bert")
    handle.set(tokens=0.5)
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(
        tiny_model("bert", AutoModelForSequenceClassification, num_hidden_layers=2), tmp_path
    )
    handle.detach()
    assert torch.equal(logits(again.eval(), batch()), logits(model, batch()))


@pytest.mark.parametrize("order", ORDERS)
def test_adapters_on_a_model_without_a_head(order: str) -> None:
    """PEFT's wrapper shows the model's own attributes, blocks included, but is not the model."""
    _, model, handle = adapted(order, "FEATURE_EXTRACTION", AutoModel)
    inputs = batch()
    with torch.no_grad(), handle.at(tokens=0.5):
        by_name = model(**inputs)[0]
        assert torch.equal(model(inputs["input_ids"], inputs["attention_mask"])[0], by_name)
    assert kept(handle) == [11, 6]


def test_adapters_switched_off_leave_the_plain_model_under_pruning() -> None:
    plain = tiny_model("llama", AutoModelForCausalLM, num_hidden_layers=2)
    with attach(plain, "tokens").at(tokens=0.5):
        expected = logits(plain, batch())
    _, model, handle = adapted("attached before", "CAUSAL_LM", AutoModelForCausalLM)
    with handle.at(tokens=0.5):
        assert not torch.equal(logits(model, batch()), expected)
        with model.disable_adapter():
            assert torch.equal(logits(model, batch()), expected)


@pytest.mark.parametrize("config", [PromptTuningConfig, PrefixTuningConfig])
def test_virtual_tokens_count_as_tokens(config: Any) -> None:
    """A prompt of virtual tokens is part of the text; a prefix is a cache that the model goes on with."""
    model = tiny_model("llama", AutoModelForCausalLM, num_hidden_layers=2)
    model = get_peft_model(model, config(task_type="CAUSAL_LM", num_virtual_tokens=4)).eval()
    handle = attach(model, "tokens")
    with torch.no_grad(), handle.at(tokens=0.5):
        model(**batch("left"))
        assert kept(handle)[0] == (13 if config is PromptTuningConfig else 11)
        assert model.generate(**batch("left"), **GREEDY).shape == (3, 25)
