"""Who enters the first block: by a table of what token ids say, which lies on the model and in its bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.core.errors import SettingError
from rheostat.models.salience import read_salience, salience_of, salience_scores, set_salience, write_salience
from rheostat.techniques import TokenPruning, attach
from rheostat.testing import tiny_model
from rheostat.testing.tiny import VOCABULARY

IDS = torch.randint(4, VOCABULARY, (3, 24), generator=torch.Generator().manual_seed(1))
HEADS: dict[str, Any] = {"bert": AutoModel, "qwen3": AutoModelForSequenceClassification}


def table() -> torch.Tensor:
    made = torch.rand(VOCABULARY, generator=torch.Generator().manual_seed(0))
    made[4] = torch.inf
    return made


def telling(kind: str) -> Any:
    model = tiny_model(kind, HEADS[kind]).double()
    set_salience(model, table())
    return model


def test_a_token_has_half_of_what_the_one_beside_it_says() -> None:
    given = torch.tensor([0.0, 4.0, 1.0])
    assert salience_scores(given, torch.tensor([[0, 0, 1, 2, 0]]), None).tolist() == [[0.0, 2.0, 4.0, 2.0, 0.5]]


def test_a_token_that_is_always_read_lends_nothing() -> None:
    given = torch.tensor([torch.inf, 0.0, 1.0])
    assert salience_scores(given, torch.tensor([[0, 1, 2]]), None).tolist() == [[torch.inf, 0.5, 1.0]]


def test_padding_lends_nothing_and_unknown_ids_say_nothing() -> None:
    given, mask = torch.tensor([8.0, 1.0]), torch.tensor([[False, True, True]])
    scores = salience_scores(given, torch.tensor([[0, 5, 1]]), mask)
    assert scores[0, 1:].tolist() == [0.5, 1.0]


@pytest.mark.parametrize("kind", HEADS)
def test_with_the_whole_cut_at_the_entry_the_model_reads_a_shorter_text(kind: str) -> None:
    model = telling(kind)
    handle = attach(model, TokenPruning(entry=1.0, protect="both"))
    with torch.no_grad(), handle.at(tokens=0.5):
        found = model(input_ids=IDS, attention_mask=torch.ones_like(IDS))
        entered = torch.tensor(handle.entered())
    assert entered.shape == (3, 12)
    assert handle.survivors() == [entered.tolist()] * 4
    handle.detach()
    with torch.no_grad():
        # Positions as they were; ones for a mask, so that no family takes a step of more than one for a new text.
        expected = model(
            input_ids=IDS.gather(1, entered), attention_mask=torch.ones_like(entered), position_ids=entered
        )
    if kind == "bert":
        read = found.last_hidden_state.gather(1, entered[..., None].expand(-1, -1, 32))
        torch.testing.assert_close(read, expected.last_hidden_state)
    else:
        torch.testing.assert_close(found.logits, expected.logits)


def test_what_enters_says_most() -> None:
    model = telling("bert")
    handle = attach(model, TokenPruning(entry=1.0, floor=1))
    with torch.no_grad(), handle.at(tokens=0.25):
        model(input_ids=IDS)
        entered = handle.entered()
    for row, columns in enumerate(entered):
        scores = salience_scores(table(), IDS[row : row + 1], None)[0]
        scores[0] = torch.inf
        assert columns == sorted(scores.argsort(descending=True, stable=True)[:6].tolist())


def test_the_ends_of_a_row_are_its_own() -> None:
    model = tiny_model("qwen3", AutoModelForCausalLM)
    handle = attach(model, TokenPruning(entry=1.0, entry_scorer="ends", floor=1))
    mask = torch.ones_like(IDS)
    mask[1, :9] = 0
    embedded = model.get_input_embeddings()(IDS)
    with torch.no_grad(), handle.at(tokens=10 / 24):
        # No ids are needed.
        model(inputs_embeds=embedded, attention_mask=mask)
        entered = handle.entered()
    assert entered[0] == [0, 1, *range(16, 24)]
    # Seven of fifteen: the beginning is read where it is nearer than four times the end.
    assert entered[1] == [9, 10, *range(19, 24)]
    handle.detach()


def test_the_ends_are_those_of_what_is_not_protected() -> None:
    model = tiny_model("qwen3", AutoModelForCausalLM)
    handle = attach(model, TokenPruning(entry=1.0, entry_scorer="ends", floor=1))
    answer = torch.zeros_like(IDS, dtype=torch.bool)
    answer[:, 18:] = True
    with torch.no_grad(), handle.at(tokens=0.5, protect=answer):
        model(input_ids=IDS)
        entered = handle.entered()
    # Twelve of 24 go on, six of them protected, and six of the others.
    assert entered == [[0, 1, *range(14, 24)]] * 3
    handle.detach()


def test_neutral_is_the_plain_model_and_a_row_does_not_depend_on_its_batch() -> None:
    model = telling("bert")
    with torch.no_grad():
        plain = model(input_ids=IDS).last_hidden_state
    handle = attach(model, TokenPruning(entry=0.8))
    mask = torch.ones_like(IDS)
    mask[1, 15:] = 0
    with torch.no_grad():
        assert torch.equal(model(input_ids=IDS).last_hidden_state, plain)
        with handle.at(tokens=0.4):
            together = model(input_ids=IDS, attention_mask=mask).last_hidden_state[1, :15]
            alone = model(input_ids=IDS[1:2, :15]).last_hidden_state[0]
    torch.testing.assert_close(together, alone)


def test_gradients_flow_through_what_entered() -> None:
    model = telling("bert").train()
    handle = attach(model, TokenPruning(entry=0.8))
    with handle.at(tokens=0.4):
        model(input_ids=IDS).last_hidden_state[:, 0].sum().backward()
    assert all(weight.grad is not None for name, weight in model.named_parameters() if "layer" in name)


def test_without_a_table_the_cut_is_refused_with_what_to_do() -> None:
    model = tiny_model("bert", AutoModel)
    handle = attach(model, TokenPruning(entry=0.5))
    with handle.at(tokens=0.5), pytest.raises(SettingError, match="a model without a table"):
        model(input_ids=IDS)
    set_salience(model, table())
    embedded = model.get_input_embeddings()(IDS)
    with handle.at(tokens=0.5), pytest.raises(SettingError, match="inputs_embeds"):
        model(inputs_embeds=embedded)


def test_a_language_model_that_writes_needs_none_at_entry_0() -> None:
    model = tiny_model("qwen3", AutoModelForCausalLM)
    handle = attach(model, TokenPruning())
    with torch.no_grad(), handle.at(tokens=0.5):
        assert model(input_ids=IDS).logits.shape[:2] == IDS.shape


@pytest.mark.parametrize(
    "unfit",
    [
        torch.zeros(VOCABULARY + 1),
        torch.zeros(VOCABULARY, 1),
        torch.zeros(VOCABULARY, dtype=torch.int64),
        torch.full((VOCABULARY,), -1.0),
        torch.full((VOCABULARY,), torch.nan),
    ],
)
def test_a_table_is_a_number_from_0_for_each_id(unfit: torch.Tensor) -> None:
    with pytest.raises(SettingError, match="a number from 0 for each token id"):
        set_salience(tiny_model("bert", AutoModel), unfit)


def test_a_table_is_no_weight_and_is_written_beside_them(tmp_path: Path) -> None:
    model = telling("bert")
    assert not any("salience" in name for name in model.state_dict())
    write_salience(tmp_path, model)
    other = tiny_model("bert", AutoModel)
    read_salience(tmp_path, other)
    found = salience_of(other)
    assert found is not None
    assert torch.equal(found, table())
    set_salience(other, None)
    assert salience_of(other) is None
    read_salience(tmp_path / "nowhere", other)
    assert salience_of(other) is None
