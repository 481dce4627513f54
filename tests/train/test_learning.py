"""A recipe's step: gradients of its passes, and what is distilled."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy, softmax

from rheostat.core.errors import SettingError
from rheostat.techniques import attach
from rheostat.testing.tiny import tiny_model
from rheostat.train.learning import Learner, distillation
from rheostat.train.losses import AllLoss, ClassificationLoss, ContinuationLoss, LossValue, SurvivorLoss
from rheostat.train.recipes import Nested, Plain, Sandwich, Uniform

CLASSES = 3


def batch_for(kind: str) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(3, 97, (4, 16), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 10:] = 0
    labels = torch.tensor([0, 2, 1, 1]) if kind == "classification" else ids.masked_fill(mask == 0, -100)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def classifier(name: str = "bert") -> torch.nn.Module:
    from transformers import AutoModelForSequenceClassification

    return tiny_model(name, AutoModelForSequenceClassification, num_labels=CLASSES).eval()


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def test_a_sandwich_step_is_the_mean_of_its_passes_with_a_fixed_teacher() -> None:
    model, batch = classifier(), batch_for("classification")
    handle = attach(model)
    learner = Learner(Sandwich(0.3, 0.9, between=1), ClassificationLoss(), handle)
    passes = learner.passes(0, 0, 10)
    for one, share in learner.step(0, 0, 10):
        (share * learner.learn(model, batch, one)).backward()
    found = gradients(model)

    model.zero_grad()
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    full = model(**inputs).logits
    total = cross_entropy(full, batch["labels"])
    for one in passes[1:]:
        with handle.at(**one.settings):
            logits = model(**inputs).logits
        wanted = softmax(full.detach(), -1)
        total = total + (wanted * (wanted.log() - logits.log_softmax(-1))).sum(-1).mean()
    (total / 3).backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)


def test_the_dial_is_back_after_a_pass_and_nothing_is_remembered_after_a_step() -> None:
    model, batch = classifier(), batch_for("classification")
    handle = attach(model)
    learner = Learner(Sandwich(0.3, 0.9), ClassificationLoss(), handle)
    for one, _ in learner.step(0, 0, 10):
        learner.learn(model, batch, one)
        assert handle.settings == {"tokens": 1.0}
    assert learner._remembered is None


@pytest.mark.parametrize("distil", [0.0, 0.25])
@torch.no_grad()
def test_labels_have_the_rest(distil: float) -> None:
    model, batch = classifier(), batch_for("classification")
    handle = attach(model)
    learner = Learner(Sandwich(0.4, 0.4, between=0, distil=distil), ClassificationLoss(), handle)
    full, small = learner.passes(0, 0, 10)
    learner.learn(model, batch, full)
    remembered = learner._remembered
    assert remembered is not None
    with handle.at(tokens=0.4):
        value = ClassificationLoss()(model, batch)
    expected = distil * distillation(value, remembered) + (1 - distil) * value.mean
    assert float(learner.learn(model, batch, small)) == pytest.approx(float(expected), rel=1e-5)


@torch.no_grad()
def test_survivors_are_compared_with_the_teacher_at_their_own_positions() -> None:
    from transformers import AutoModelForCausalLM

    model, batch = tiny_model("llama", AutoModelForCausalLM).eval(), batch_for("causal-lm")
    handle = attach(model)
    loss = SurvivorLoss(handle)
    teacher = loss(model, batch)
    with handle.at(tokens=0.6):
        student = loss(model, batch)
        survivors = handle.survivors()[-1]
    columns = [row * 15 + column for row, kept in enumerate(survivors) for column in kept if column < 15]
    chosen = [at for at, column in zip(range(len(columns)), columns, strict=True) if teacher.targets[column] != -100]
    wanted = softmax(teacher.logits[columns], -1)[chosen]
    expected = (wanted * (wanted.log() - student.logits[chosen].log_softmax(-1))).sum(-1).mean()
    assert float(distillation(student, teacher)) == pytest.approx(float(expected), rel=1e-4)


def test_a_teacher_teaches_itself_nothing_and_takes_no_gradient() -> None:
    logits = torch.randn(5, CLASSES, generator=torch.Generator().manual_seed(0), requires_grad=True)
    value = LossValue(logits.sum(), torch.tensor(5), torch.tensor(0), logits, torch.tensor([0, 1, 2, 1, -100]))
    divergence = distillation(value, value)
    divergence.backward()
    assert float(divergence.detach()) == pytest.approx(0.0, abs=1e-6)
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) < 1e-6


def test_a_nested_step_is_the_mean_of_the_losses_of_its_depths() -> None:
    model, batch = classifier(), batch_for("classification")
    handle = attach(model, "tokens", "depth")
    learner = Learner(Nested((1, 3, 4), keep_low=0.6, keep_high=0.6), ClassificationLoss(), handle)
    ((one, share),) = learner.step(0, 0, 10)
    (share * learner.learn(model, batch, one)).backward()
    found = gradients(model)
    model.zero_grad()
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    for depth in (1, 3, 4):
        with handle.at(tokens=0.6, depth=depth):
            (cross_entropy(model(**inputs).logits, batch["labels"]) / 3).backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(found[name], gradient, atol=1e-6, rtol=1e-4)


def test_a_recipe_is_checked_against_the_model_and_the_loss() -> None:
    handle = attach(classifier())
    with pytest.raises(SettingError, match="between 1 and the model's 4 blocks"):
        Learner(Nested((2, 6)), ClassificationLoss(), handle)
    with pytest.raises(SettingError, match="through a key-value cache"):
        Learner(Nested(), ContinuationLoss(handle), handle)
    for recipe in (Plain(), Uniform()):
        Learner(recipe, AllLoss(), handle)
