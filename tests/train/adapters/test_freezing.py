"""Training the last blocks or the head: nothing below is computed backwards, and nothing else changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from rheostat.core.errors import SettingError
from rheostat.models.families import families
from rheostat.models.parts import parts_of
from rheostat.techniques import attach
from rheostat.testing import tiny_model
from rheostat.train.adapters import Trainable, prepare

TYPES = [family.model_type for family in families()]
IDS = torch.arange(3, 35).view(4, 8)


def make(model_type: str = "bert", **settings: Any) -> Any:
    return tiny_model(model_type, AutoModelForSequenceClassification, **settings)


def loss(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=IDS, labels=torch.tensor([0, 1, 1, 0])).loss
    return found


def wanted(model: Any, kind: str, blocks: int | None = None) -> Any:
    return prepare(model, Trainable(kind, blocks=blocks), "classification")  # type: ignore[arg-type]


def nodes(value: torch.Tensor) -> int:
    """How many steps the backward pass of a value has."""
    seen, left = set(), [value.grad_fn]
    while left:
        node = left.pop()
        if node is not None and node not in seen:
            seen.add(node)
            left += [following for following, _ in node.next_functions]
    return len(seen)


@contextmanager
def saved() -> Iterator[list[int]]:
    """Count the bytes that autograd keeps."""
    found: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        found.append(tensor.nbytes)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


@contextmanager
def graphs(model: Any) -> Iterator[list[bool]]:
    """Note for each block whether its output has a graph."""
    found: list[bool] = []

    def look(module: Any, args: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        found.append(states.requires_grad)

    family = next(each for each in families() if each.model_type == model.config.model_type)
    blocks = family.blocks_of(model.base_model)
    assert blocks is not None
    hooks = [block.register_forward_hook(look) for block in blocks]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("model_type", TYPES)
def test_no_graph_is_built_below_the_trained_blocks(model_type: str) -> None:
    model = make(model_type)
    count = model.config.num_hidden_layers
    sizes, kept = [], []
    for blocks in range(1, count + 1):
        prepared = wanted(model, "last-k", blocks)
        with graphs(model) as seen, saved() as stored:
            value = loss(model)
        assert seen == [at >= count - blocks for at in range(count)]
        sizes.append(nodes(value))
        kept.append(sum(stored))
        prepared.merge()
    for measured in (sizes, kept):
        steps = [after - before for before, after in pairwise(measured)]
        # Each block adds about as much as the next one; the embeddings add nothing.
        assert min(steps) > 0
        assert min(steps) > 0.6 * max(steps)
    with saved() as stored:
        full = loss(model)
    assert nodes(full) > sizes[-1]


def test_the_frozen_kind_computes_the_head_backwards_and_nothing_else() -> None:
    model = make()
    wanted(model, "frozen")
    with graphs(model) as seen:
        value = loss(model)
    assert not any(seen)
    # Loss, the linear layer, its transposed weight, and two accumulations.
    assert nodes(value) < 8
    value.backward()
    assert [name for name, each in model.named_parameters() if each.grad is not None] == [
        "classifier.weight",
        "classifier.bias",
    ]


@pytest.mark.parametrize("model_type", TYPES)
def test_gradients_are_those_of_the_full_graph(model_type: str) -> None:
    model = make(model_type)
    loss(model).backward()
    full = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad()
    wanted(model, "last-k", 2)
    loss(model).backward()
    found = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    parts = parts_of(model)
    groups = (*parts.blocks[-2:], parts.above, parts.head)
    assert set(found) == {name for group in groups for name in group} & set(full)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, full[name], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("kind", "blocks"), [("last-k", 1), ("last-k", 3), ("frozen", None)])
def test_frozen_tensors_stay_the_same_bit_for_bit(kind: str, blocks: int | None) -> None:
    model = make()
    before = {name: each.detach().clone() for name, each in model.named_parameters()}
    prepared = wanted(model, kind, blocks)
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    # Every parameter goes to the optimiser, with weight decay: what has no gradient is left alone.
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(2):
        loss(model).backward()
        optimiser.step()
        optimiser.zero_grad()
    changed = {name for name, each in model.named_parameters() if not torch.equal(each, before[name])}
    assert changed == trained
    assert sum(state["exp_avg"].numel() for state in optimiser.state.values()) == sum(
        before[name].numel() for name in trained
    )
    prepared.merge()
    assert all(each.requires_grad for each in model.parameters())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_it_works_under_a_technique_and_with_checkpointed_activations() -> None:
    model = tiny_model("llama", AutoModelForCausalLM)
    handle = attach(model, "tokens")
    wanted(model, "last-k", 2)
    gradients = []
    for checkpointing in (False, True):
        if checkpointing:
            # Transformers renamed it within version 5, and warns of the old name.
            getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)()
        model.train()
        with handle.at(tokens=0.5), graphs(model) as seen:
            model(input_ids=IDS, use_cache=False).logits.square().mean().backward()
        assert seen[:4] == [False, False, True, True]
        gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
        model.zero_grad()
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[0][name], gradients[1][name]) for name in gradients[0])


def test_full_trains_everything() -> None:
    model = make()
    prepared = prepare(model, Trainable(), "classification")
    assert prepared.model is model
    assert prepared.note is None
    assert all(each.requires_grad for each in model.parameters())


def test_contradictions_with_the_model_are_refused() -> None:
    with pytest.raises(SettingError, match="blocks that the model has. Given: blocks=5 and a model of 4. .*at most 4"):
        wanted(make(), "last-k", 5)
    tied = tiny_model("llama", AutoModelForCausalLM, tie_word_embeddings=True)
    with pytest.raises(SettingError, match="'frozen' trains a head.*tied to its embeddings"):
        prepare(tied, Trainable("frozen"), "causal-lm")
    assert all(each.requires_grad for each in tied.parameters())
