"""Where the parameters of every family are."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification

from rheostat.models.families import families
from rheostat.models.parts import block_matrices, parts_of
from rheostat.techniques import attach
from rheostat.testing import tiny_model

TYPES = [family.model_type for family in families()]


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("head", [AutoModelForSequenceClassification, None])
def test_every_parameter_is_somewhere_once(model_type: str, head) -> None:
    decoder = next(family.kind for family in families() if family.model_type == model_type) == "decoder"
    model = tiny_model(model_type, head or (AutoModelForCausalLM if decoder else AutoModelForMaskedLM))
    parts = parts_of(model)
    groups = [parts.below, *parts.blocks, parts.above, parts.head]
    names = [name for group in groups for name in group]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert len(parts.blocks) == model.config.num_hidden_layers
    assert all(parts.blocks)
    embeddings = model.get_input_embeddings().weight
    assert any(each is embeddings for each in parts.below.values())
    assert bool(parts.above) == (model_type not in ("distilbert", "electra")) or model_type in ("bert", "roberta")
    if head is not None:
        assert parts.head


def test_a_tied_output_layer_is_an_embedding() -> None:
    tied = tiny_model("llama", AutoModelForCausalLM, tie_word_embeddings=True)
    assert parts_of(tied).head == {}
    assert list(parts_of(tied).below) == ["model.embed_tokens.weight"]
    assert list(parts_of(tiny_model("llama", AutoModelForCausalLM)).head) == ["lm_head.weight"]


@pytest.mark.parametrize("model_type", TYPES)
def test_matrices_are_the_linear_layers_of_the_blocks(model_type: str) -> None:
    model = tiny_model(model_type, AutoModelForSequenceClassification)
    parts = parts_of(model)
    inside = {id(each) for group in (*parts.blocks, parts.above) for each in group.values()}
    expected = {
        name.removesuffix(".weight")
        for name, each in model.named_parameters()
        if id(each) in inside and each.ndim == 2 and name.endswith(".weight")
    }
    found = block_matrices(model)
    assert set(found) == expected
    assert all(model.get_submodule(path) is layer for path, layer in found.items())


def test_a_worn_model_has_the_same_parts() -> None:
    model = tiny_model("bert", AutoModelForSequenceClassification)
    before = block_matrices(model)
    handle = attach(model, "tokens")
    assert block_matrices(model) == before
    assert torch.is_tensor(parts_of(model).below["bert.embeddings.word_embeddings.weight"])
    handle.detach()
