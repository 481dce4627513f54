"""Losses cover the positions they say, compared with a slow reference."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.techniques import Handle, TokenPruning, attach
from rheostat.testing import tiny_model
from rheostat.train.losses import (
    IGNORED,
    AllLoss,
    ClassificationLoss,
    ContinuationLoss,
    SurvivorLoss,
    make_loss,
)

LENGTH = 20


@pytest.fixture(params=["llama", "gpt2", "gemma3_text"])
def handle(request: pytest.FixtureRequest) -> Handle:
    return attach(tiny_model(request.param, AutoModelForCausalLM), TokenPruning(floor=2))


def make_batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(3, 97, (3, LENGTH), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids.clone()}


def by_hand(logits: torch.Tensor, ids: torch.Tensor, speaking: list[list[int]]) -> tuple[float, int]:
    losses = [
        float(cross_entropy(logits[row, at], ids[row, at + 1]))
        for row, places in enumerate(speaking)
        for at in places
        if at + 1 < ids.shape[1]
    ]
    return sum(losses) / len(losses), len(losses)


@torch.no_grad()
def test_all_positions_are_learnt_from(handle: Handle) -> None:
    batch = make_batch()
    with handle.at(tokens=0.6):
        value = AllLoss()(handle.model, batch)
        logits = handle.model(batch["input_ids"]).logits
    expected, count = by_hand(logits, batch["input_ids"], [list(range(LENGTH))] * 3)
    assert float(value.mean) == pytest.approx(expected, rel=1e-4)
    assert int(value.count) == count == 3 * (LENGTH - 1)


@torch.no_grad()
def test_only_survivors_are_learnt_from(handle: Handle) -> None:
    batch = make_batch()
    with handle.at(tokens=0.6):
        value = SurvivorLoss(handle)(handle.model, batch)
        logits = handle.model(batch["input_ids"]).logits
        survivors = handle.survivors()[-1]
    expected, count = by_hand(logits, batch["input_ids"], survivors)
    assert float(value.mean) == pytest.approx(expected, rel=1e-4)
    assert int(value.count) == count < 3 * (LENGTH - 1)


@torch.no_grad()
def test_at_neutral_everybody_survives(handle: Handle) -> None:
    batch = make_batch()
    survivors, everybody = SurvivorLoss(handle)(handle.model, batch), AllLoss()(handle.model, batch)
    assert float(survivors.mean) == float(everybody.mean)
    assert int(survivors.count) == int(everybody.count)


def test_nothing_is_learnt_from_padding(handle: Handle) -> None:
    batch = make_batch()
    batch["attention_mask"][0, 12:] = 0
    batch["labels"][0, 12:] = IGNORED
    assert int(AllLoss()(handle.model, batch).count) == 11 + 2 * (LENGTH - 1)


@pytest.mark.parametrize("tokens", [1.0, 0.5])
def test_a_continuation_is_scored_as_it_would_be_generated(handle: Handle, tokens: float) -> None:
    batch, half = make_batch(), LENGTH // 2
    ids, model = batch["input_ids"], handle.model
    with handle.at(tokens=tokens), torch.no_grad():
        value = ContinuationLoss(handle)(model, batch)
        output = model(ids[:, :half], use_cache=True)
        losses = [cross_entropy(output.logits[:, -1], ids[:, half])]
        for at in range(half, LENGTH - 1):
            output = model(ids[:, at : at + 1], past_key_values=output.past_key_values, use_cache=True)
            losses.append(cross_entropy(output.logits[:, -1], ids[:, at + 1]))
    assert float(value.mean) == pytest.approx(float(torch.stack(losses).mean()), rel=1e-4)
    assert int(value.count) == 3 * (LENGTH - half)


def test_prompts_learn_through_the_cache(handle: Handle) -> None:
    handle.model.train()
    embeddings = handle.model.get_input_embeddings().weight
    batch = make_batch()
    batch["input_ids"][:, : LENGTH // 2] = 5
    batch["input_ids"][:, LENGTH // 2 :] = 7
    batch["labels"] = batch["input_ids"]
    with handle.at(tokens=0.5):
        ContinuationLoss(handle)(handle.model, batch).mean.backward()
    # With tied weights row 5 also learns not to be predicted; keys and values of the first block are for prompts.
    assert embeddings.grad is not None
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in handle.model.parameters())
    assert float(embeddings.grad[5].abs().sum()) > 0


def test_survivors_learn_with_gradient_checkpointing_as_without() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = tiny_model("llama", AutoModelForCausalLM).train()
        handle = attach(model, TokenPruning(floor=2))
        if checkpointing:
            model.activation_checkpointing_enable()
        with handle.at(tokens=0.5):
            SurvivorLoss(handle)(model, make_batch()).mean.backward()
        gradients.append([weight.grad.clone() for weight in model.parameters() if weight.grad is not None])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


@torch.no_grad()
def test_classes_are_compared_row_by_row() -> None:
    model = tiny_model("bert", AutoModelForSequenceClassification)
    batch = {**make_batch(), "labels": torch.tensor([0, 1, 1])}
    value = ClassificationLoss()(model, batch)
    logits = model(batch["input_ids"]).logits
    assert float(value.mean) == pytest.approx(float(cross_entropy(logits, batch["labels"])))
    assert int(value.correct) == int((logits.argmax(-1) == batch["labels"]).sum())
    assert int(value.count) == 3


def test_every_way_of_learning_has_its_loss(handle: Handle) -> None:
    assert type(make_loss("classification", "survivors", handle)) is ClassificationLoss
    kinds = {"survivors": SurvivorLoss, "all": AllLoss, "continuation": ContinuationLoss}
    for name, kind in kinds.items():
        assert type(make_loss("causal-lm", name, handle)) is kind  # type: ignore[arg-type]
