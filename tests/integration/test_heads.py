"""Every head that Transformers puts on a family gives each row its own result under pruning."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForMultipleChoice,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from rheostat.models.families import families
from rheostat.techniques import attach
from rheostat.testing import TINY, tiny_model
from tests.integration.batches import batch, kept, logits, texts

DECODERS = [family.model_type for family in families() if family.kind == "decoder"]
ENCODERS = [family.model_type for family in families() if family.kind == "encoder"]
WITHOUT = {  # Heads that Transformers does not have.
    AutoModelForTokenClassification: {"gemma3_text"},
    AutoModelForQuestionAnswering: {"gemma2", "gemma3_text", "phi3"},
}


def made(model_type: str, head: Any, **settings: Any) -> Any:
    model = tiny_model(model_type, head, **settings)
    attach(model, "tokens").set(tokens=0.5)
    return model


def of_positions(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    with torch.no_grad():
        output = model(**inputs)
    if "logits" in output:
        return output.logits
    return torch.stack([output.start_logits, output.end_logits], dim=-1)


@pytest.mark.parametrize(
    ("head", "model_type"),
    [
        *[(head, kind) for head, without in WITHOUT.items() for kind in TINY if kind not in without],
        *[(AutoModelForMaskedLM, kind) for kind in ENCODERS],
        *[(AutoModelForCausalLM, kind) for kind in DECODERS],
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.removeprefix("AutoModelFor"),
)
def test_a_head_that_reads_every_position(head: Any, model_type: str) -> None:
    model = made(model_type, head)
    inputs = batch()
    together = of_positions(model, inputs)
    assert together.shape[:2] == (3, 21)
    for row, text in enumerate(texts(inputs)):
        alone = of_positions(model, {"input_ids": text})
        torch.testing.assert_close(together[row, : text.shape[1]], alone[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model_type", DECODERS)
def test_a_decoder_s_classifier_reads_the_last_token(model_type: str, side: str) -> None:
    model = made(model_type, AutoModelForSequenceClassification)
    inputs = batch(side)
    # GPT-2 counts absolute positions from the first column unless it is told otherwise, with or without rheostat.
    positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    together = logits(model, {**inputs, "position_ids": positions})
    alone = torch.cat([logits(model, {"input_ids": text}) for text in texts(inputs)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_modernbert_pools_the_mean_or_the_first_token(pooling: str) -> None:
    model = made("modernbert", AutoModelForSequenceClassification, classifier_pooling=pooling)
    alone = torch.cat([logits(model, {"input_ids": text}) for text in texts(batch())])
    torch.testing.assert_close(logits(model, batch()), alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model_type", ENCODERS)
def test_multiple_choice_folds_its_choices_into_the_batch(model_type: str) -> None:
    model = made(model_type, AutoModelForMultipleChoice)
    together = logits(model, {name: value[None] for name, value in batch().items()})
    alone = torch.cat([logits(model, {"input_ids": text[None]}) for text in texts(batch())], dim=1)
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model_type", ["bert", "electra"])
def test_pairs_of_texts(model_type: str) -> None:
    """Token types are added at the embedding, so that survivors carry them along."""
    model = made(model_type, AutoModelForSequenceClassification)
    inputs = batch()
    types = (torch.arange(21) > 4).long().expand(3, 21)
    together = logits(model, {**inputs, "token_type_ids": types})
    for row, text in enumerate(texts(inputs)):
        alone = logits(model, {"input_ids": text, "token_type_ids": types[:1, : text.shape[1]]})
        torch.testing.assert_close(together[row], alone[0], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(together, logits(model, inputs), atol=1e-3)


@pytest.mark.parametrize("model_type", DECODERS)
def test_the_loss_of_a_language_model_reads_every_label(model_type: str) -> None:
    model = tiny_model(model_type, AutoModelForCausalLM)
    handle = attach(model, "tokens")
    inputs = batch()
    labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
    with handle.at(tokens=0.5):
        output = model(**inputs, labels=labels)
    assert kept(handle) == [11, 6, 5, 5]
    assert output.logits.shape == (3, 21, 97)
    assert torch.isfinite(output.loss)
    output.loss.backward()
    assert torch.isfinite(model.get_input_embeddings().weight.grad).all()
