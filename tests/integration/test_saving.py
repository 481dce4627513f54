"""Saving, loading and copying a model that wears rheostat."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

from rheostat.core.errors import SettingError
from rheostat.models.families import Family, families
from rheostat.techniques import attach
from rheostat.testing import tiny_model
from tests.integration.batches import batch, kept, logits


def label(family: Family) -> str:
    return family.model_type


@pytest.mark.parametrize("family", families(), ids=label)
def test_a_saved_model_loads_as_the_plain_one(family: Family, tmp_path: Path) -> None:
    head = AutoModelForCausalLM if family.kind == "decoder" else AutoModelForMaskedLM
    model = tiny_model(family.model_type, head)
    plain = logits(model, batch())
    handle = attach(model, "tokens")
    handle.set(tokens=0.5)
    logits(model, batch())
    model.save_pretrained(tmp_path)
    again = head.from_pretrained(tmp_path, attn_implementation=model.config._attn_implementation)
    assert torch.equal(logits(again, batch()), plain)
    assert "rheostat" not in (tmp_path / "config.json").read_text()
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == [type(again).__name__]
    handle.detach()
    assert type(again) is type(model)


def test_a_state_dict_goes_through_torch_save() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    attach(model, "tokens").set(tokens=0.5)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    plain = tiny_model("llama", AutoModelForCausalLM, seed=1)
    plain.load_state_dict(torch.load(file))
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in model.state_dict().items())


def test_a_copy_follows_the_handle_and_is_plain_once_it_is_detached() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    plain = logits(model, batch())
    handle = attach(model, "tokens")
    twin = copy.deepcopy(model)
    handle.set(tokens=0.5)
    assert torch.equal(logits(twin, batch()), logits(model, batch()))
    handle.detach()
    assert torch.equal(logits(twin, batch()), plain)
    twin.model.layers[0].mlp.down_proj.weight.data.zero_()
    assert torch.equal(logits(model, batch()), plain)


def test_a_copy_made_before_attaching_stays_plain() -> None:
    model = tiny_model("bert", AutoModelForMaskedLM)
    twin = copy.deepcopy(model)
    attach(model, "tokens").set(tokens=0.5)
    assert not torch.equal(logits(twin, batch()), logits(model, batch()))


@pytest.mark.parametrize("head", [AutoModel, AutoModelForCausalLM])
def test_a_model_made_from_the_class_of_an_attached_one_never_prunes_half(head: Any) -> None:
    """Its base would drop the mask, and its blocks, being plain, would read none."""
    model = tiny_model("llama", head)
    handle = attach(model, "tokens")
    other = type(model)(model.config).eval()
    with torch.no_grad():
        other(**batch())
        handle.set(tokens=0.5)
        if head is AutoModel:
            with pytest.raises(SettingError, match="Every block"):
                other(**batch())
        else:
            before = other(**batch()).logits
            handle.detach()
            assert torch.equal(other(**batch()).logits, before)


def test_blocks_put_in_after_attaching_are_refused() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    other = tiny_model("llama", AutoModelForCausalLM)
    handle = attach(model, "tokens")
    model.model.layers[2] = other.model.layers[2]
    logits(model, batch())
    with handle.at(tokens=0.5), pytest.raises(SettingError, match="put in later"):
        logits(model, batch())


def test_embeddings_grow_while_attached() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    handle = attach(model, "tokens")
    model.resize_token_embeddings(120, mean_resizing=False)
    with handle.at(tokens=0.5):
        assert logits(model, batch()).shape == (3, 21, 120)
    assert kept(handle)[0] == 11
