"""Transformers' pipelines work with a model that wears rheostat, one text at a time and in batches."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    pipeline,
)

from rheostat.techniques import Handle, attach
from rheostat.testing import tiny_model
from tests.integration.batches import kept
from tests.saved import make_tokenizer

TEXTS = ["w1 w2 w3 w4 w5 w6 w7 w8 w9 w10 w11", "w3 w4 w5"]


def made(task: str, head: Any, model_type: str = "bert") -> tuple[Any, Handle]:
    tokenizer = make_tokenizer("causal-lm" if task == "text-generation" else "classification")
    if task == "text-generation":
        tokenizer.pad_token, tokenizer.padding_side = "[PAD]", "left"
    if task == "fill-mask":
        tokenizer.mask_token = "[UNK]"
    model = tiny_model(model_type, head, num_hidden_layers=2)
    handle = attach(model, "tokens")
    handle.set(tokens=0.5)
    return pipeline(task, model=model, tokenizer=tokenizer), handle


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_text_classification(model_type: str) -> None:
    classify, handle = made("text-classification", AutoModelForSequenceClassification, model_type)
    alone = classify(TEXTS[0])[0]
    assert kept(handle) == [7, 5]
    together = classify(TEXTS, batch_size=2)
    assert together[0]["label"] == alone["label"]
    assert together[0]["score"] == pytest.approx(alone["score"], abs=1e-4)
    handle.set(tokens=1.0)
    assert classify(TEXTS[0])[0]["score"] != pytest.approx(alone["score"], abs=1e-4)


def test_text_generation() -> None:
    write, handle = made("text-generation", AutoModelForCausalLM, "llama")
    alone = [write(text, max_new_tokens=4, do_sample=False)[0] for text in TEXTS]
    assert kept(handle) == [1, 1]  # The last forward decoded one token.
    together = write(TEXTS, batch_size=2, max_new_tokens=4, do_sample=False)
    assert [texts[0] for texts in together] == alone


@pytest.mark.parametrize(
    ("task", "head", "results"),
    [
        ("token-classification", AutoModelForTokenClassification, 11),
        ("fill-mask", AutoModelForMaskedLM, 5),
        ("feature-extraction", AutoModel, 1),
    ],
)
def test_other_tasks_get_something_for_every_token(task: str, head: Any, results: int) -> None:
    run, handle = made(task, head)
    found = run(TEXTS[0].replace("w9", "[UNK]"))
    assert kept(handle) == [7, 5]
    assert len(found) == results
    if task == "feature-extraction":
        assert len(found[0]) == 13
