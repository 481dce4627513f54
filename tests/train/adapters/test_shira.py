"""Training a few entries of each matrix: exactly these change, and everything comes back."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.core.errors import SettingError, TrainingError, UnsupportedModelError
from rheostat.models.parts import block_matrices
from rheostat.models.sparse import TrainedEntries, read_entries
from rheostat.techniques import attach
from rheostat.techniques.finetuning.shira import SparseAdapter, SparseSwitch
from rheostat.testing import tiny_model
from rheostat.train.adapters import SparseTraining, Trainable, prepare

FAMILIES = ["bert", "gpt2", "llama", "distilbert"]
IDS = torch.arange(3, 35).view(4, 8)


def make(model_type: str = "bert", **settings: Any) -> Any:
    return tiny_model(model_type, AutoModelForSequenceClassification, num_labels=3, **settings)


def loss(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=IDS, labels=torch.tensor([0, 1, 2, 0])).loss
    return found


def losses(model: Any, batches: int = 2) -> Callable[[], Iterator[torch.Tensor]]:
    return lambda: (loss(model) for _ in range(batches))


def shira(model: Any, mask: Any = "weight", share: float = 0.02) -> SparseTraining:
    prepared = prepare(model, Trainable("shira", mask=mask, share=share), "classification", losses=losses(model))
    assert isinstance(prepared, SparseTraining)
    return prepared


def train(model: Any, steps: int = 3) -> torch.optim.Optimizer:
    optimiser = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=1e-2)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(model).backward()
        optimiser.step()
    return optimiser


def state(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(two) and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("model_type", FAMILIES)
@pytest.mark.parametrize("mask", ["structural", "random", "weight", "gradient", "snip"])
def test_exactly_the_mask_and_the_head_change(model_type: str, mask: str) -> None:
    model = make(model_type)
    before, matrices = state(model), {f"{path}.weight" for path in block_matrices(model)}
    prepared = shira(model, mask)
    train(model)
    adapter = prepared.adapter()
    prepared.merge()
    after = state(model)
    assert list(before) == list(after)
    assert set(adapter.matrices) == matrices
    for name, tensor in after.items():
        changed = (tensor != before[name]).flatten().nonzero().flatten()
        if name in matrices:
            assert 0 < len(changed) <= 0.02 * tensor.numel()
            assert set(changed.tolist()) <= set(adapter.matrices[name].indices.tolist())
            assert len(changed) > 0.8 * len(adapter.matrices[name].indices)
        elif name in adapter.whole:
            assert len(changed)
        else:
            assert not len(changed), name
    assert all(name.startswith(("classifier", "score", "pre_classifier")) for name in adapter.whole)
    assert 0 < adapter.share <= 0.02


@pytest.mark.parametrize("model_type", FAMILIES)
def test_unloading_brings_back_the_very_same_model(model_type: str) -> None:
    model = make(model_type)
    model.get_input_embeddings().weight.requires_grad_(False)
    before, parameters = state(model), dict(model.named_parameters())
    learning = {name for name, each in parameters.items() if each.requires_grad}
    prepared = shira(model, "snip")
    train(model)
    assert len(block_matrices_of(model)) > 8
    prepared.unload()
    assert same(before, state(model))
    assert all(dict(model.named_parameters())[name] is each for name, each in parameters.items())
    assert {name for name, each in model.named_parameters() if each.requires_grad} == learning
    assert not block_matrices_of(model)


def block_matrices_of(model: Any) -> list[TrainedEntries]:
    return [module for module in model.modules() if isinstance(module, TrainedEntries)]


@pytest.mark.parametrize("model_type", FAMILIES)
def test_training_starts_as_the_plain_model_and_ends_as_the_merged_one(model_type: str) -> None:
    model = make(model_type)
    plain = model(input_ids=IDS).logits
    prepared = shira(model)
    assert torch.equal(model(input_ids=IDS).logits, plain)
    train(model)
    trained = model(input_ids=IDS).logits
    prepared.merge()
    assert torch.equal(model(input_ids=IDS).logits, trained)
    assert not torch.equal(trained, plain)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_gradients_are_those_of_the_full_graph(model_type: str) -> None:
    model = make(model_type)
    loss(model).backward()
    full = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad()
    prepared = shira(model)
    loss(model).backward()
    for path, each in prepared._entries.items():
        expected = read_entries(full[f"{path}.weight"], each.indices)
        torch.testing.assert_close(each.values.grad, expected)
        assert each.weight.grad is None
    for name, parameter in prepared._head.items():
        torch.testing.assert_close(parameter.grad, full[name])


def test_two_forwards_before_a_backward_and_accumulated_gradients() -> None:
    """As recipes do that run several sizes of the model in one step."""
    model = make()
    prepared = shira(model)
    train(model, 1)
    model.zero_grad()
    (loss(model) + loss(model)).backward()
    both = [each.values.grad.clone() for each in prepared._entries.values()]
    model.zero_grad()
    loss(model).backward()
    for each, twice in zip(prepared._entries.values(), both, strict=True):
        torch.testing.assert_close(2 * each.values.grad, twice)
    late = loss(model)
    with torch.no_grad():
        next(iter(prepared._entries.values())).values.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        late.backward()


def test_the_optimisers_state_is_as_long_as_the_mask() -> None:
    model = make()
    prepared = shira(model)
    optimiser = train(model, 1)
    head = sum(each.numel() for each in prepared._head.values())
    moments = sum(t.numel() for each in optimiser.state.values() for t in each.values() if t.numel() > 1)
    assert moments == 2 * (prepared.adapter().trained + head)
    gradients = sum(each.grad.numel() for each in model.parameters() if each.grad is not None)
    assert gradients == prepared.adapter().trained + head


def test_the_change_has_a_high_rank() -> None:
    model = make(hidden_size=64, intermediate_size=128)
    before = state(model)
    prepared = shira(model, "random")
    train(model, 5)
    prepared.merge()
    ranks = [
        int(torch.linalg.matrix_rank(model.state_dict()[f"{path}.weight"] - before[f"{path}.weight"]))
        for path in block_matrices(model)
    ]
    # 81 entries of 64 x 64; LoRA with as many numbers has a rank below 1.
    assert min(ranks) > 30


def test_it_trains_under_a_technique_and_with_checkpointed_activations() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    handle = attach(model, "tokens")
    prepared = prepare(model, Trainable("shira", mask="random"), "causal-lm")
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            # Transformers renamed it within version 5, and warns of the old name.
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        model.train()
        with handle.at(tokens=0.5):
            model(input_ids=IDS, use_cache=False).logits.square().mean().backward()
        gradients.append([each.values.grad.clone() for each in block_matrices_of(model)])
        model.zero_grad()
    assert all(torch.equal(one, two) for one, two in zip(*gradients, strict=True))
    assert all(bool(each.any()) for each in gradients[0])
    assert not any(each.requires_grad for name, each in model.named_parameters() if not name.endswith(".values"))
    prepared.merge()
    handle.detach()


def test_bfloat16_weights_learn_in_float32() -> None:
    model = make().to(torch.bfloat16)
    before = state(model)
    prepared = shira(model)
    assert {each.values.dtype for each in block_matrices_of(model)} == {torch.float32}
    train(model)
    prepared.unload()
    assert same(before, state(model))


def test_the_file_put_on_the_base_is_the_merged_model(tmp_path: Path) -> None:
    model, base = make(), make()
    prepared = shira(model)
    train(model)
    assert prepared.save(tmp_path)
    prepared.merge()
    switch = SparseSwitch(base)
    plain = base(input_ids=IDS).logits
    switch.add("a", SparseAdapter.load(tmp_path))
    with switch.at(a=1.0):
        assert torch.equal(base(input_ids=IDS).logits, model(input_ids=IDS).logits)
        assert same(state(base), state(model))
    assert torch.equal(base(input_ids=IDS).logits, plain)
    with pytest.raises(SettingError, match="put on the weights that it was trained on.*already hold the adapter"):
        SparseSwitch(model).add("a", SparseAdapter.load(tmp_path))


def test_the_mask_of_a_checkpoint_is_the_one_that_counts() -> None:
    """Weights, originals, indices and values are all in the state: a new mask gives way to the saved one."""
    model, again = make(), make()
    prepared = shira(model, "weight")
    train(model)
    continued = shira(again, "random")
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(input_ids=IDS).logits, model(input_ids=IDS).logits)
    prepared.merge()
    continued.merge()
    assert same(state(model), state(again))


def test_choosing_by_gradients_leaves_no_trace() -> None:
    model = make()
    model.train()
    shira(model, "gradient").unload()
    assert model.training
    assert all(each.requires_grad and each.grad is None for each in model.parameters())


@pytest.mark.parametrize("mask", ["gradient", "snip"])
def test_masks_by_gradients_need_batches(mask: Any) -> None:
    with pytest.raises(SettingError, match="chosen on batches of training data. Given: no batches"):
        prepare(make(), Trainable("shira", mask=mask), "classification")


def test_gradients_that_are_not_finite_are_refused() -> None:
    model = make()
    infinite = Trainable("shira", mask="gradient")
    with pytest.raises(TrainingError, match="NaN or infinite"):
        prepare(model, infinite, "classification", losses=lambda: iter([loss(model) * torch.inf]))
    assert all(each.grad is None and each.requires_grad for each in model.parameters())


def test_a_share_below_one_entry_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="at least one entry.*the largest with 1536 entries.*Raise"):
        shira(make(), share=0.0001)
