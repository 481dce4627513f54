"""The exit dial: rows leave by a threshold, together with the other dials, and nothing is trained by it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.core.errors import SettingError
from rheostat.core.exits import ExitRule
from rheostat.models.families import locate
from rheostat.techniques import Exits, Handle, attach, configure
from rheostat.techniques.contract import Target
from rheostat.techniques.row_exits import classify_with_exits, exit_scores
from rheostat.testing import tiny_model


@pytest.fixture
def model() -> Any:
    return tiny_model("bert", AutoModelForSequenceClassification, num_labels=3).double()


@pytest.fixture
def worn(model: Any) -> Handle:
    return attach(model, "tokens", "depth", Exits(exit_every=1))


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    ids, mask = torch.randint(3, 97, (6, 20), generator=generator), torch.ones((6, 20), dtype=torch.long)
    for row in range(6):
        mask[row, 20 - 3 * row :] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}


def threshold(handle: Handle, inputs: dict[str, torch.Tensor]) -> float:
    """A threshold that some rows reach at an early exit and some do not."""
    return float(exit_scores(handle, [1, 2], "confidence", **inputs).median()) - 1e-9


@pytest.mark.parametrize("tokens", [1.0, 0.5])
def test_the_dial_is_a_rule_of_one_threshold(
    model: Any, worn: Handle, inputs: dict[str, torch.Tensor], tokens: float
) -> None:
    with worn.at(tokens=tokens):
        exit_at = threshold(worn, inputs)
        expected = classify_with_exits(worn, ExitRule(dict.fromkeys((1, 2, 3), exit_at)), **inputs)
        assert len(set(expected.depths.tolist())) > 1
        with torch.no_grad(), worn.at(exit=exit_at):
            assert torch.equal(model(**inputs).logits, expected.logits)
            assert torch.equal(model(**inputs, return_dict=False)[0], expected.logits)
        survivors = worn.survivors()
    assert [sum(bool(block[row]) for block in survivors) for row in range(6)] == expected.depths.tolist()


def test_no_row_goes_deeper_than_the_depth_dial_says(model: Any, worn: Handle, inputs: dict[str, torch.Tensor]) -> None:
    exit_at = threshold(worn, inputs)
    with torch.no_grad(), worn.at(depth=2, exit=exit_at):
        found = model(**inputs).logits
        depths = [sum(bool(block[row]) for block in worn.survivors()) for row in range(6)]
    assert set(depths) == {1, 2}
    for row, depth in enumerate(depths):
        with torch.no_grad(), worn.at(depth=depth):
            torch.testing.assert_close(found[row], model(**inputs).logits[row])
    with torch.no_grad(), worn.at(depth=1, exit=0.01):
        shallow = model(**inputs).logits
        assert len(worn.survivors()) == 1
    with torch.no_grad(), worn.at(depth=1):
        assert torch.equal(model(**inputs).logits, shallow)


def test_exits_lie_below_the_last_block() -> None:
    assert Exits().rule({"exit": 0.9}, 6) == ExitRule({2: 0.9, 4: 0.9})
    assert Exits(exit_every=3).rule({"exit": 0.9}, 7) == ExitRule({3: 0.9, 6: 0.9})
    assert Exits().rule({"exit": 0.9}, 2) is None


def test_in_low_precision(model: Any, inputs: dict[str, torch.Tensor]) -> None:
    handle = configure(model.float(), {"precision": "int8", "exit": 0.01, "exit_every": 1})
    with torch.no_grad():
        found = model(**inputs).logits
        with handle.at(exit=1.0):
            assert not torch.equal(model(**inputs).logits, found)
    handle.detach()
    assert type(model) is type(tiny_model("bert", AutoModelForSequenceClassification))


@pytest.mark.parametrize("more", [{"labels": torch.zeros(6, dtype=torch.long)}, {"output_hidden_states": True}])
def test_what_it_cannot_give_is_refused(
    model: Any, worn: Handle, inputs: dict[str, torch.Tensor], more: dict[str, Any]
) -> None:
    with worn.at(exit=0.9), pytest.raises(SettingError, match=next(iter(more))):
        model(**inputs, **more)
    assert len(model(**inputs, **more)) > 1


def test_nothing_is_trained_by_it(model: Any, worn: Handle, inputs: dict[str, torch.Tensor]) -> None:
    model.train()
    with worn.at(exit=0.9), pytest.raises(SettingError, match="training mode"):
        model(**inputs)
    assert model(**inputs).logits.requires_grad


@pytest.mark.parametrize(("model_type", "head"), [("bert", AutoModel), ("llama", AutoModelForCausalLM)])
def test_other_models_have_no_rows_to_leave(model_type: str, head: Any) -> None:
    model = tiny_model(model_type, head)
    ids = torch.randint(3, 97, (2, 9), generator=torch.Generator().manual_seed(2))
    handle = attach(model, "exits")
    model(input_ids=ids)
    with handle.at(exit=0.9), pytest.raises(SettingError, match="classifies"):
        model(input_ids=ids)
    family = locate(model).family
    assert Exits.restrictions(Target(family, "classification")) == ()
    assert {each.name for each in Exits.restrictions(Target(family, "causal-lm"))} == {"exit", "exit_every"}  # type: ignore[union-attr]


def test_one_threshold_each_is_worn() -> None:
    model = tiny_model("bert", AutoModelForSequenceClassification)
    with pytest.raises(SettingError, match="at most one"):
        attach(model, Exits(), Exits(exit_every=1))
