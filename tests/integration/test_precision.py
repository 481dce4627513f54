"""Low precision: weights in 16 bits or quantised, and autocast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import AutoModel, AutoModelForCausalLM, BitsAndBytesConfig

from rheostat.models.families import Family, families
from rheostat.techniques import Handle, TokenPruning, attach
from rheostat.testing import tiny_model
from tests.integration.batches import batch, kept, logits

ERROR = {torch.bfloat16: 0.1, torch.float16: 0.02}


def label(value: Any) -> str:
    return value.model_type if isinstance(value, Family) else str(value).removeprefix("torch.")


def states(model: Any, scorer: str = "random") -> tuple[torch.Tensor, set[tuple[int, int, int]]]:
    handle = attach(model, TokenPruning(scorer=scorer))
    with handle.at(tokens=0.6):
        output = model(**batch())[0].detach()
    survivors = {
        (block, row, column)
        for block, rows in enumerate(handle.survivors())
        for row, columns in enumerate(rows)
        for column in columns
    }
    handle.detach()
    return output, survivors


def check_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> None:
    """Nine of ten numbers at the real positions are as near as the type allows, relative to their spread."""
    real = batch()["attention_mask"].bool()
    error = (found.float() - expected)[real].abs() / expected[real].std()
    assert torch.isfinite(found[real]).all()
    assert error.quantile(0.9) < tolerance


def check_overlap(found: set[tuple[int, int, int]], expected: set[tuple[int, int, int]]) -> None:
    """Rounded scores may break near ties otherwise; most of the survivors stay the same."""
    assert len(found) == len(expected)
    assert len(found & expected) > 0.8 * len(expected)


@pytest.mark.parametrize("graded", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=label)
@pytest.mark.parametrize("family", families(), ids=label)
def test_weights_in_16_bits(family: Family, dtype: torch.dtype, graded: bool) -> None:
    model = tiny_model(family.model_type, AutoModel)
    with torch.set_grad_enabled(graded):
        (expected, same), (_, expected_survivors) = states(model), states(model, "attention")
        model.to(dtype)
        (found, survivors), (_, scored_survivors) = states(model), states(model, "attention")
    assert found.dtype == dtype
    assert survivors == same
    check_close(found, expected, ERROR[dtype])
    check_overlap(scored_survivors, expected_survivors)


def test_a_model_moves_to_16_bits_after_attaching() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    handle = attach(model, "tokens")
    model.half()
    with handle.at(tokens=0.5):
        assert logits(model, batch()).dtype == torch.float16
    assert kept(handle) == [11, 6, 5, 5]


@pytest.mark.parametrize("graded", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("family", families(), ids=label)
def test_autocast(family: Family, graded: bool) -> None:
    model = tiny_model(family.model_type, AutoModel)
    with torch.set_grad_enabled(graded):
        (expected, same), (_, expected_survivors) = states(model), states(model, "attention")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            (found, survivors), (_, scored_survivors) = states(model), states(model, "attention")
    assert survivors == same
    check_close(found, expected, 0.1)
    check_overlap(scored_survivors, expected_survivors)


@pytest.mark.parametrize("graded", [True, False], ids=["training", "inference"])
def test_a_block_whose_output_has_another_type_than_its_input(graded: bool) -> None:
    """On a GPU, autocast takes norms in float32: ELECTRA's first block gets float16 and returns float32."""
    model = tiny_model("electra")
    model.embeddings_project.register_forward_hook(lambda module, args, output: output.bfloat16())
    model.encoder.layer[0].attention.register_forward_pre_hook(lambda module, args: (args[0].float(),))
    handle = attach(model, "tokens")
    with torch.set_grad_enabled(graded), handle.at(tokens=0.5):
        assert model(**batch())[0].dtype == torch.float32
    assert kept(handle) == [11, 6, 5, 5]


class Int8Linear(nn.Module):
    """A linear layer with weights in 8 bits, as quantisation libraries put in place of nn.Linear."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.register_buffer("weight", (linear.weight.detach() / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)
        self.bias = linear.bias

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return functional.linear(states, self.weight.to(states.dtype) * self.scale, self.bias)


def quantise(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Int8Linear(child))
        else:
            quantise(child)


@pytest.mark.parametrize("model_type", ["llama", "bert", "modernbert"])
def test_quantised_layers(model_type: str) -> None:
    model = tiny_model(model_type, AutoModel)
    expected, _ = states(model)
    quantise(model)
    with torch.no_grad():
        check_close(states(model)[0], expected, 0.1)


def test_layers_are_quantised_after_attaching() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    handle = attach(model, "tokens")
    quantise(model)
    check_handle(model, handle)


def check_quantised(model: Any) -> None:
    plain = logits(model, batch("left"))
    handle = attach(model, "tokens")
    assert torch.equal(logits(model, batch("left")), plain)
    check_handle(model, handle)
    handle.detach()
    assert torch.equal(logits(model, batch("left")), plain)


def check_handle(model: Any, handle: Handle) -> None:
    with handle.at(tokens=0.5), torch.no_grad():
        assert torch.isfinite(logits(model, batch("left"))).all()
        assert kept(handle)[0] == 11
        written = model.generate(**batch("left"), max_new_tokens=3, eos_token_id=None, pad_token_id=0)
    assert written.shape == (3, 24)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("config", ["Int8WeightOnlyConfig", "Int8DynamicActivationInt8WeightConfig"])
def test_torchao(config: str) -> None:
    quantization = pytest.importorskip("torchao.quantization")
    model = tiny_model("llama", AutoModelForCausalLM, num_hidden_layers=2)
    quantization.quantize_(model, getattr(quantization, config)())
    check_quantised(model)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bits", ["load_in_4bit", "load_in_8bit"])
def test_bitsandbytes(bits: str, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    tiny_model("llama", AutoModelForCausalLM, hidden_size=64, intermediate_size=128).save_pretrained(tmp_path)
    settings = BitsAndBytesConfig(**{bits: True})
    model = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=settings, device_map="cpu")
    assert type(model.model.layers[0].mlp.up_proj).__name__ in ("Linear4bit", "Linear8bitLt")
    check_quantised(model)
