"""Transformers' Trainer and Accelerate work with a model that wears rheostat."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from rheostat.techniques import Handle, attach
from rheostat.testing import tiny_model
from tests.integration.batches import batch, kept

RATES = (1.0, 0.8, 0.5, 0.3)


class Turning(TrainerCallback):
    """Turns the dial before each step, and looks after it."""

    def __init__(self, handle: Handle) -> None:
        self.handle, self.kept = handle, []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.handle.set(tokens=RATES[state.global_step])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.kept.append(None if self.handle.settings == {"tokens": 1.0} else kept(self.handle)[0])


def rows(*, language: bool) -> list[dict[str, torch.Tensor]]:
    inputs = batch(lengths=(16,) * 8)
    ids = inputs["input_ids"]
    labels = ids if language else torch.arange(8) % 2
    return [
        {"input_ids": row, "attention_mask": mask, "labels": label}
        for row, mask, label in zip(ids, inputs["attention_mask"], labels, strict=True)
    ]


def trainer(model: Any, folder: Path, *, language: bool = False, **settings: Any) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=len(RATES),
        per_device_train_batch_size=2,
        per_device_eval_batch_size=4,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        save_strategy="no",
        dataloader_pin_memory=False,
        **settings,
    )
    data = rows(language=language)
    return Trainer(model=model, args=arguments, train_dataset=data, eval_dataset=data)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_the_dial_turns_between_steps(model_type: str, checkpointing: bool, tmp_path: Path) -> None:
    model = tiny_model(model_type, AutoModelForSequenceClassification, num_hidden_layers=2)
    handle = attach(model, "tokens")
    turning = Turning(handle)
    run = trainer(model, tmp_path, activation_checkpointing=checkpointing)
    run.add_callback(turning)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run.train()
    assert turning.kept == [None, 13, 8, 5]
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_evaluation_and_prediction_prune_as_the_dial_says(tmp_path: Path) -> None:
    model = tiny_model("llama", AutoModelForSequenceClassification, num_hidden_layers=2)
    handle = attach(model, "tokens")
    run = trainer(model, tmp_path)
    plain = run.predict(rows(language=False)).predictions
    handle.set(tokens=0.3)
    pruned = run.predict(rows(language=False)).predictions
    assert pruned.shape == plain.shape == (8, 2)
    assert abs(pruned - plain).max() > 1e-3
    loss = run.evaluate()["eval_loss"]
    with handle.at(tokens=1.0):
        assert run.evaluate()["eval_loss"] != loss


def test_a_language_model_trains_in_bfloat16_and_is_saved_plain(tmp_path: Path) -> None:
    model = tiny_model("gpt2", AutoModelForCausalLM)
    handle = attach(model, "tokens")
    handle.set(tokens=0.5)
    run = trainer(model, tmp_path, language=True, bf16=True)
    run.train()
    assert kept(handle)[0] == 8
    run.save_model(str(tmp_path))
    handle.detach()
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert type(again) is type(model)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in again.state_dict().items())


@pytest.mark.parametrize("head", [AutoModel, AutoModelForSequenceClassification])
def test_accelerate_prepares_an_attached_model(head: Any) -> None:
    """Accelerate sets a forward with autocast on the model itself; unwrapped and detached it is plain again."""
    model = tiny_model("bert", head, num_hidden_layers=2)
    handle = attach(model, "tokens")
    accelerator = Accelerator(cpu=True, mixed_precision="bf16")
    prepared = accelerator.prepare(model)
    with torch.no_grad(), handle.at(tokens=0.5):
        prepared(**batch())
    assert kept(handle) == [11, 6]
    handle.detach()
    unwrapped = accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)
    with torch.no_grad():
        assert torch.isfinite(unwrapped(**batch())[0]).all()
