"""A row's result does not depend on its batch or on padding; neutral is the plain model, bit for bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.models.families import Family, families
from rheostat.techniques import TokenPruning, attach
from rheostat.techniques.inference.scorers import SCORERS
from rheostat.testing import tiny_model

LENGTHS = (21, 13, 6)


def label(family: Family) -> str:
    return family.model_type


def rows(seed: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(3, 97, (length,), generator=generator) for length in LENGTHS]


def padded(texts: list[torch.Tensor], side: str) -> dict[str, torch.Tensor]:
    width = max(len(text) for text in texts)
    ids, mask = (
        torch.zeros((len(texts), width), dtype=torch.long),
        torch.zeros((len(texts), width), dtype=torch.long),
    )
    for row, text in enumerate(texts):
        at = slice(width - len(text), width) if side == "left" else slice(0, len(text))
        ids[row, at], mask[row, at] = text, 1
    return {"input_ids": ids, "attention_mask": mask}


def head_of(family: Family) -> Any:
    return AutoModelForCausalLM if family.kind == "decoder" else AutoModel


def first_output(model: Any, **inputs: torch.Tensor) -> torch.Tensor:
    return model(**inputs)[0]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", families(), ids=label)
def test_neutral_is_bit_identical(family: Family, attention: str) -> None:
    if family.model_type == "gemma2" and attention == "sdpa":
        pytest.skip("Transformers gives Gemma 2 no sdpa attention")
    model = tiny_model(family.model_type, head_of(family), attn_implementation=attention)
    inputs = padded(rows(), "right")
    plain = first_output(model, **inputs)
    before = set(vars(model)), type(model), model.config.to_dict()
    handle = attach(model, "tokens")
    assert torch.equal(first_output(model, **inputs), plain)
    with handle.at(tokens=0.5):
        assert not torch.equal(first_output(model, **inputs), plain)
    assert torch.equal(first_output(model, **inputs), plain)
    handle.detach()
    assert torch.equal(first_output(model, **inputs), plain)
    assert before == (set(vars(model)), type(model), model.config.to_dict())


@pytest.mark.parametrize("family", families(), ids=label)
def test_detaching_leaves_no_trace(family: Family) -> None:
    model = tiny_model(family.model_type, head_of(family))
    before = [(type(module), {k: id(v) for k, v in vars(module).items()}) for module in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    handle = attach(model, "tokens")
    with torch.no_grad(), handle.at(tokens=0.5):
        first_output(model, **padded(rows(), "right"))
    handle.detach()
    assert before == [(type(module), {k: id(v) for k, v in vars(module).items()}) for module in model.modules()]
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("scorer", SCORERS)
@pytest.mark.parametrize("model_type", ["llama", "gemma3_text", "bert", "modernbert"])
def test_a_row_does_not_depend_on_its_batch_or_padding(model_type: str, scorer: str, side: str) -> None:
    family = next(family for family in families() if family.model_type == model_type)
    model = tiny_model(model_type, head_of(family))
    handle = attach(model, TokenPruning(scorer=scorer))
    inputs = padded(rows(), side)
    positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.no_grad(), handle.at(tokens=0.6):
        together = first_output(model, **inputs, position_ids=positions)
        kept = handle.survivors()
        for row, text in enumerate(rows()):
            alone = first_output(model, input_ids=text[None])
            if scorer != "random" or side == "right":
                offset = together.shape[1] - len(text) if side == "left" else 0
                assert [[c - offset for c in block[row]] for block in kept] == [b[0] for b in handle.survivors()]
                real = inputs["attention_mask"][row].bool()
                torch.testing.assert_close(together[row][real], alone[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", families(), ids=label)
def test_a_pruned_classifier_gives_each_row_its_own_logits(family: Family) -> None:
    model = tiny_model(family.model_type, AutoModelForSequenceClassification)
    handle = attach(model, "tokens")
    with torch.no_grad(), handle.at(tokens=0.5):
        together = model(**padded(rows(), "right")).logits
        alone = torch.cat([model(input_ids=text[None]).logits for text in rows()])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", families(), ids=label)
def test_a_floor_above_the_length_drops_nothing(family: Family) -> None:
    """The pruned path with nothing to drop equals the plain model: each family's layout is declared right."""
    model = tiny_model(family.model_type, head_of(family))
    inputs = padded(rows(), "right")
    real = inputs["attention_mask"].bool()
    plain = first_output(model, **inputs)
    handle = attach(model, TokenPruning(floor=1000))
    with torch.no_grad(), handle.at(tokens=0.1):
        torch.testing.assert_close(first_output(model, **inputs)[real], plain[real], atol=1e-4, rtol=1e-4)


def test_every_hidden_state_comes_back_at_full_length() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    handle = attach(model, "tokens")
    with torch.no_grad(), handle.at(tokens=0.5):
        output = model(**padded(rows(), "left"), output_hidden_states=True)
    assert [tuple(states.shape) for states in output.hidden_states] == [(3, 21, 32)] * 5


def test_a_dropped_position_carries_the_state_it_had() -> None:
    model = tiny_model("llama", AutoModel)
    handle = attach(model, "tokens")
    with torch.no_grad(), handle.at(tokens=0.5):
        states = model(input_ids=rows()[0][None], output_hidden_states=True).hidden_states
    gone = sorted(set(range(21)) - set(handle.survivors()[1][0]))
    assert torch.equal(states[2][0, gone], states[3][0, gone])


def test_copies_of_an_attached_model_work() -> None:
    model = tiny_model("bert", AutoModel)
    handle = attach(model, "tokens")
    twin = copy.deepcopy(model)
    inputs = padded(rows(), "right")
    with torch.no_grad(), handle.at(tokens=0.5):
        assert torch.equal(first_output(model, **inputs), first_output(twin, **inputs))
