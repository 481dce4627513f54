"""LoRA and its relatives through PEFT: what learns, and that merging changes no answer."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.core.errors import UnsupportedModelError
from rheostat.models.parts import block_matrices
from rheostat.testing import tiny_model
from rheostat.train.adapters import Trainable, low_rank, prepare, quantised

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
KINDS = ["lora", "rslora", "dora"]
IDS = torch.arange(3, 35).view(4, 8)
NO_LIBRARY = importlib.util.find_spec("bitsandbytes") is None


def make(model_type: str = "bert", **settings: Any) -> Any:
    return tiny_model(model_type, AutoModelForSequenceClassification, **settings)


def train(model: Any, steps: int = 3) -> None:
    optimiser = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        model(input_ids=IDS, labels=torch.tensor([0, 1, 1, 0])).loss.backward()
        optimiser.step()


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "llama", "distilbert"])
@pytest.mark.parametrize("kind", KINDS)
def test_merging_changes_no_answer(kind: Any, model_type: str) -> None:
    model = make(model_type)
    names, plain = list(model.state_dict()), model(input_ids=IDS).logits
    torch.manual_seed(0)
    prepared = prepare(model, Trainable(kind, rank=4), "classification")
    learning = [name for name, each in prepared.model.named_parameters() if each.requires_grad]
    assert all("lora_" in name or "modules_to_save" in name for name in learning)
    train(prepared.model)
    trained = prepared.model.eval()(input_ids=IDS).logits
    prepared.merge()
    torch.testing.assert_close(model(input_ids=IDS).logits, trained, atol=1e-4, rtol=1e-4)
    assert (trained - plain).abs().max() > 1e-3
    assert list(model.state_dict()) == names
    assert all(each.requires_grad for each in model.parameters())


@pytest.mark.parametrize(("kind", "scale"), [("lora", 16 / 4), ("dora", 16 / 4), ("rslora", 16 / 2)])
def test_the_scale_is_alpha_over_the_rank_or_its_root(kind: Any, scale: float) -> None:
    model = make()
    prepared = prepare(model, Trainable(kind, rank=4, alpha=16, dropout=0.25), "classification")
    layer = prepared.model.get_submodule("base_model.model.bert.encoder.layer.0.attention.self.query")
    assert layer.scaling == {"default": scale}
    assert layer.lora_A["default"].weight.shape == (4, 32)
    assert layer.lora_dropout["default"].p == 0.25
    assert ("lora_magnitude_vector.default.weight" in dict(layer.named_parameters())) == (kind == "dora")
    assert prepared.note == f"{low_rank._NAMES[kind]} adapters of rank 4 were trained, and merged into the weights."


def test_the_file_is_read_by_peft(tmp_path: Path) -> None:
    model = make()
    prepared = prepare(model, Trainable("dora"), "classification", origin="somewhere")
    train(prepared.model)
    assert prepared.save(tmp_path)
    prepared.merge()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert json.loads((tmp_path / "adapter_config.json").read_text())["base_model_name_or_path"] == "somewhere"
    again = PeftModel.from_pretrained(make(), tmp_path)
    torch.testing.assert_close(again(input_ids=IDS).logits, model(input_ids=IDS).logits, atol=1e-4, rtol=1e-4)


class Strange(nn.Module):
    """A layer with a matrix that is no linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.eye(32))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return states @ self.matrix


def test_dora_is_refused_on_layers_that_it_does_not_know() -> None:
    model = make()
    model.bert.encoder.layer[1].attention.output.dense = Strange()
    with pytest.raises(UnsupportedModelError, match="attention.output.dense of block 1, a Strange. Choose 'lora'"):
        prepare(model, Trainable("dora"), "classification")
    assert prepare(model, Trainable("lora"), "classification").model is not model
    with pytest.raises(UnsupportedModelError, match="PEFT has to know how to put LoRA adapters"):
        prepare(_without_linear(), Trainable("lora"), "classification")


def _without_linear() -> Any:
    model = make("bert", num_hidden_layers=1)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Linear) and name != "classifier":
                parent._modules[name] = Strange()
    return model


def test_qlora_says_why_it_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "why_not", lambda device: "ModuleNotFoundError: No module named 'bitsandbytes'")
    with pytest.raises(UnsupportedModelError, match="bitsandbytes, working on this machine. Given: ModuleNotFound"):
        prepare(tiny_model("llama", AutoModelForCausalLM), Trainable("qlora"), "causal-lm")
    with pytest.raises(UnsupportedModelError, match="torch.nn.Linear in 4 bits.*Conv1D"):
        prepare(make("gpt2"), Trainable("qlora"), "classification")


@pytest.mark.skipif(not NO_LIBRARY, reason="bitsandbytes is installed")
def test_without_the_library_the_reason_is_that() -> None:
    assert quantised.why_not(torch.device("cpu")) == "ModuleNotFoundError: No module named 'bitsandbytes'"


@pytest.mark.skipif(NO_LIBRARY, reason="bitsandbytes is not installed")
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
def test_qlora_trains_over_four_bits_and_merges_into_plain_weights() -> None:
    reason = quantised.why_not(torch.device("cpu"))
    if reason is not None:
        pytest.skip(reason)
    model = make(hidden_size=64, intermediate_size=128)
    names = list(model.state_dict())
    plain = {path: layer.weight.detach().clone() for path, layer in block_matrices(model).items() if "layer" in path}
    prepared = prepare(model, Trainable("qlora", rank=4), "classification")
    import bitsandbytes

    four = [module for module in prepared.model.modules() if isinstance(module, bitsandbytes.nn.Linear4bit)]
    assert len(four) == 4 * 6
    assert all(layer.weight.dtype == torch.uint8 for layer in four)
    for path, weight in plain.items():
        held = model.get_submodule(path).base_layer.weight
        rounded = bitsandbytes.functional.dequantize_4bit(held.data, held.quant_state)
        assert 0 < (rounded - weight).norm() / weight.norm() < 0.15
    start = prepared.model.eval()(input_ids=IDS).logits
    train(prepared.model)
    trained = prepared.model.eval()(input_ids=IDS).logits
    prepared.merge()
    assert sorted(model.state_dict()) == sorted(names)
    assert not any(isinstance(module, bitsandbytes.nn.Linear4bit) for module in model.modules())
    torch.testing.assert_close(model(input_ids=IDS).logits, trained, atol=1e-3, rtol=1e-3)
    assert (trained - start).abs().max() > 1e-3
