"""On a CUDA device models do what they do on a CPU. Skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import rheostat
from rheostat.models.families import Family, families
from rheostat.techniques import Precision, attach
from rheostat.testing import tiny_model
from rheostat.train.finetune import FinetuneSettings, finetune
from tests.saved import make_data, save_tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

DECODERS = [family for family in families() if family.kind == "decoder"]


def label(family: Family) -> str:
    return family.model_type


def made(family: Family, device: str, dtype: torch.dtype = torch.float64) -> torch.nn.Module:
    head = AutoModelForCausalLM if family.kind == "decoder" else AutoModelForSequenceClassification
    return tiny_model(family.model_type, head).to(device=device, dtype=dtype).eval()


def batch(device: str) -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 97, (3, 24), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :7] = 0
    return {"input_ids": ids.to(device), "attention_mask": mask.to(device)}


@pytest.mark.parametrize("family", families(), ids=label)
def test_a_pruned_forward_is_that_of_the_cpu(family: Family) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        handle = attach(made(family, device), "tokens")
        with torch.no_grad(), handle.at(tokens=0.6):
            found[device] = handle.model(**batch(device)).logits.cpu(), handle.survivors()
    assert found["cpu"][1] == found["cuda"][1]
    # Some families round rotary angles or the softmax to float32.
    torch.testing.assert_close(found["cuda"][0], found["cpu"][0], atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("family", families(), ids=label)
def test_neutral_is_the_plain_model_bit_for_bit(family: Family) -> None:
    model = made(family, "cuda", torch.float32)
    with torch.no_grad():
        plain = model(**batch("cuda")).logits
        handle = attach(model, "tokens")
        assert torch.equal(handle.model(**batch("cuda")).logits, plain)


@pytest.mark.parametrize("family", DECODERS, ids=label)
def test_generation_is_that_of_the_cpu(family: Family) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        handle = attach(made(family, device), "tokens")
        with handle.at(tokens=0.6):
            found[device] = handle.model.generate(**batch(device), max_new_tokens=6, do_sample=False).tolist()
    assert found["cpu"] == found["cuda"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_step_backward_has_finite_gradients(dtype: torch.dtype) -> None:
    for name in ("bert", "llama"):
        family = next(family for family in families() if family.model_type == name)
        model = made(family, "cuda", torch.float32).train()
        handle = attach(model, "tokens")
        with handle.at(tokens=0.5), torch.autocast("cuda", dtype, enabled=dtype != torch.float32):
            model(**batch("cuda")).logits.float().square().mean().backward()
        grads = [weight.grad for weight in model.parameters() if weight.grad is not None]
        assert grads
        assert all(bool(torch.isfinite(grad).all()) for grad in grads)


def test_precision_and_detaching_leave_the_very_model() -> None:
    model = made(DECODERS[0], "cuda", torch.float32)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    handle = rheostat.attach(model, Precision("bf16"), "tokens")
    with torch.no_grad(), handle.at(tokens=0.7):
        model(**batch("cuda"))
    handle.detach()
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_bundle_that_was_trained_in_bf16_runs_there(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model", "classification")
    data = make_data("classification", rows=32, words=12)
    settings = FinetuneSettings(model, data, tmp_path / "bundle", epochs=1, precision="bf16", max_length=32)
    bundle = rheostat.load(finetune(settings), device="cuda")
    assert next(bundle.model.parameters()).device.type == "cuda"
    assert len(bundle.predict(data.split("train").texts[:3])) == 3
